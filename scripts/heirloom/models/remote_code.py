"""Code that came with a model: run in this process or not, and never a question on the terminal.

transformers asks whether it may run such code wherever nobody has decided. So every loader here takes `loading()`,
which is no until a script says otherwise (`--trust_remote_code`, from the run's `trust_remote_code: true`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.json_files import read_json
from heirloom.models.damaged_files import check_settings, not_loaded

_trusted = False


def trust(decision: bool) -> None:
    """Decide for all that this process loads from now on."""
    global _trusted
    _trusted = decision


def loading() -> dict[str, Any]:
    """Return the arguments of every `from_pretrained` of a local folder."""
    return {"local_files_only": True, "trust_remote_code": _trusted}


def as_flag() -> tuple[str, ...]:
    """Return the decision as words of the command line of a program that loads the same model."""
    return ("--trust_remote_code", "true") if _trusted else ()


@contextmanager
def loading_from(folder: Path, purpose: str = "") -> Iterator[None]:
    """Turn what transformers says of a model that it cannot load into a sentence. Raises HeirloomError.

    It wants code of its own, or a file is damaged, or this version does not know it. `purpose`: " for training".
    """
    check_settings(folder)
    refuse_kernels(folder)
    try:
        yield
    except HeirloomError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "trust_remote_code" in str(error):
            raise HeirloomError(needs_code(folder)) from None
        if (said := not_loaded(folder, error, purpose)) is None:
            raise
        raise said from error


def needs_code(folder: Path) -> str:
    """Return why a model is not loaded: its own code would have to run."""
    files = ", ".join(sorted(path.name for path in folder.glob("*.py"))) or "no .py file here"
    return (
        f"{folder}: brings code of its own ({files}), which is not run unless the run says so: read it, then set "
        "trust_remote_code: true at the top of the run's file (by hand: --trust_remote_code true)"
    )


def refuse_kernels(folder: Path) -> None:
    """Raise HeirloomError for a configuration that names attention as owner/name: that too would fetch and run code."""
    file = folder / "config.json"
    if _trusted or not file.is_file():
        return
    config = read_json(file)
    named = [config.get(key) for key in ("attn_implementation", "_attn_implementation")]
    foreign = [name for name in named if isinstance(name, str) and "/" in name]
    if foreign:
        raise HeirloomError(
            f"{file}: wants the attention of {foreign[0]}, code of a hub, which is not run unless the run says so: "
            "delete that line, or set trust_remote_code: true at the top of the run's file (by hand: "
            "--trust_remote_code true)"
        )
