"""The results of one run as its stages wrote them, as far as there are any."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.report.loss_curves import read_curves
from heirloom.report.run_config import Config, datasets_in
from heirloom.report.scores import harness_rows, score_rows, win_rows

METRICS = Path("metrics")


@dataclass(frozen=True)
class RunFiles:
    """Where the results of a run are; None and () stand for what the run does not make."""

    training: Path | None = None
    losses: Path | None = None
    evaluation: Path | None = None
    harness: Path | None = None
    generations: Path | None = None
    data: tuple[Path, ...] = ()

    @classmethod
    def found(cls, name: str, config: Config) -> "RunFiles":
        """Return those files of a run that exist at the places where the stages put them."""

        def existing(path: Path) -> Path | None:
            return path if path.exists() else None

        statistics = [METRICS / "data" / f"{dataset}.json" for dataset in datasets_in(config)]
        return cls(
            training=existing(METRICS / "training" / f"{name}.json"),
            losses=existing(METRICS / "loss" / f"{name}.csv"),
            evaluation=existing(METRICS / "evaluation" / f"{name}.json"),
            harness=existing(METRICS / "harness" / f"{name}.json"),
            generations=existing(Path("generations") / name),
            data=tuple(path for path in statistics if path.exists()),
        )

    def __bool__(self) -> bool:
        """Whether the run has results; statistics of its data are none of its own."""
        return any((self.training, self.losses, self.evaluation, self.harness, self.generations))


def run_results(name: str, files: RunFiles) -> dict[str, Any]:
    """Return {"name", "training", "held_out", "curves", "evaluation", "scores", "wins", "harness"}, each empty
    where the run has no such file.

    Raises HeirloomError when a file is missing or damaged.
    """
    training = read_json(files.training) if files.training else {}
    evaluation = read_json(files.evaluation) if files.evaluation else {}
    return {
        "name": name,
        "training": training,
        "held_out": list(held_out_rows(training)),
        "curves": read_curves(files.losses) if files.losses else {},
        "evaluation": evaluation,
        "scores": score_rows(evaluation),
        "wins": win_rows(evaluation),
        "harness": harness_rows(read_json(files.harness)) if files.harness else [],
    }


def held_out_rows(training: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each quantity that was measured on held-out rows, before the first step and after the last."""
    before, after = training.get("before", {}), training.get("after", {})
    for name in dict.fromkeys([*before, *after]):
        yield {"name": name, "before": before.get(name), "after": after.get(name)}


def data_statistics(files: tuple[Path, ...]) -> dict[str, Any]:
    """Return dataset → split → statistics."""
    return {file.stem: read_json(file) for file in files}


def read_json(file: Path) -> dict[str, Any]:
    """Return the value of a JSON file; NaN and the infinities, which JSON and browsers lack, come as text.

    Raises HeirloomError when the file is missing or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=str)
    except FileNotFoundError:
        raise HeirloomError(f"{file}: there is no such file; make it with the stage that writes it") from None
    except json.JSONDecodeError as error:
        raise HeirloomError(f"{file}: is not JSON ({error}); make it again with the stage that writes it") from None
