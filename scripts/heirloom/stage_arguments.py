"""What the command lines of stages share: the file of config/, its sections, and how a model is loaded."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from heirloom.artifacts import destination
from heirloom.errors import HeirloomError


def stage_parser(description: str | None, config: str, sections: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows --config, which `config` describes, and --sections; the stage adds its own flags.

    `sections` are those that the stage reads, all or some of them.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help=config)
    parser.add_argument(
        "--sections", type=names_among(sections), required=True, help=f"sections of it to read: {','.join(sections)}"
    )
    return parser


def names_among(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what reads a flag's names, a,b; it raises argparse's error for one that is not known."""

    def names(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)}: no section that is read here; known: {', '.join(known)}"
            )
        return given

    return names


def output_path(text: str) -> Path:
    """Return the path of what is to be made. Raises argparse's error with the sentence of `destination`.

    Of the type of an argument argparse tells no other error's text.
    """
    try:
        return destination(text)
    except HeirloomError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def reward_model_folders(words: Sequence[str] | None, named: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each run's reward model that rewards name, by `words` of --reward_models, else by its name.

    Raises HeirloomError for words that are of another run, or no RUN=FOLDER.
    """
    given = dict(each.partition("=")[::2] for each in words or ())
    unknown = [name for name, folder in given.items() if name not in named or not folder]
    if unknown:
        raise HeirloomError(
            f"--reward_models {', '.join(unknown)}: expected RUN=FOLDER of a run that training.rewards names"
        )
    return {name: Path(given.get(name, f"checkpoints/{name}")) for name in named}


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust_remote_code, which the workflow gives where a run says so."""
    parser.add_argument(
        "--trust_remote_code",
        type=yes_or_no,
        default=False,
        metavar="true|false",
        help="run code that came with the model or its tokenizer; read it first",
    )


def add_portable(parser: argparse.ArgumentParser) -> None:
    """Add --portable, which the workflow gives where a run says so, and by which the launcher knows."""
    parser.add_argument(
        "--portable",
        type=yes_or_no,
        default=False,
        metavar="true|false",
        help="the same bytes on every x86-64 processor with AVX2; scripts/launch.py prepares it",
    )


def add_attention(parser: argparse.ArgumentParser) -> None:
    """Add --attn_implementation, which the workflow gives where a run was trained so."""
    parser.add_argument("--attn_implementation", help="attention of the model; absent: as the section or transformers")


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Add what the workflow says of how a stage loads and runs a checkpoint."""
    add_trust(parser)
    add_portable(parser)
    add_attention(parser)


def yes_or_no(text: str) -> bool:
    """Return what a flag says. Raises argparse's error for anything but true and false."""
    known = {"true": True, "false": False, "1": True, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
    return known[text.lower()]
