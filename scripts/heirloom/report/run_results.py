"""The results of one run as its stages wrote them, as far as there are any."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heirloom.config.sections.gates import gates_of
from heirloom.errors import HeirloomError
from heirloom.report.execution_records import read_exports
from heirloom.report.gates import check_gates
from heirloom.report.loss_curves import read_curves
from heirloom.report.run_config import Config, datasets_in
from heirloom.report.scores import harness_rows, score_rows, win_rows

METRICS = Path("metrics")


@dataclass(frozen=True)
class RunFiles:
    """Where the results of a run are; None and () stand for what the run does not make."""

    training: Path | None = None
    losses: Path | None = None
    completions: Path | None = None
    """Some of the answers that the training learned from: for the run's own page alone."""
    evaluation: Path | None = None
    harness: Path | None = None
    samples: Path | None = None
    """What was answered to each question of the lm-evaluation-harness."""
    generations: Path | None = None
    data: tuple[Path, ...] = ()
    others_evaluation: dict[str, Path] = field(default_factory=dict)
    """Scores of the runs that a gate names, by run; `others_harness` are theirs of the lm-evaluation-harness."""
    others_harness: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def found(cls, name: str, config: Config) -> "RunFiles":
        """Return those files of a run that exist at the places where the stages put them."""

        def existing(path: Path) -> Path | None:
            return path if path.exists() else None

        others = [gate.than for _, gate in gates_of(config.get("gates")) if gate.than is not None]
        statistics = [METRICS / "data" / f"{dataset}.json" for dataset in datasets_in(config)]
        return cls(
            training=existing(METRICS / "training" / f"{name}.json"),
            losses=existing(METRICS / "loss" / f"{name}.csv"),
            evaluation=existing(METRICS / "evaluation" / f"{name}.json"),
            harness=existing(METRICS / "harness" / f"{name}.json"),
            samples=existing(Path("samples") / name),
            generations=existing(Path("generations") / name),
            data=tuple(path for path in statistics if path.exists()),
            others_evaluation=existing_of("evaluation", others),
            others_harness=existing_of("harness", others),
        )

    def __bool__(self) -> bool:
        """Whether the run has results; statistics of its data are none of its own."""
        return any((self.training, self.losses, self.evaluation, self.harness, self.generations))


def existing_of(kind: str, runs: list[str]) -> dict[str, Path]:
    """Return run → its metrics file of a kind, for those that have one."""
    files = {name: METRICS / kind / f"{name}.json" for name in runs}
    return {name: file for name, file in files.items() if file.exists()}


def run_results(name: str, files: RunFiles, gates: dict[str, str] | None = None) -> dict[str, Any]:
    """Return {"name", "training", "held_out", "curves", "evaluation", "scores", "wins", "harness", "gates", "exports"},
    each empty where the run has no such file. `gates` are the run's, held against the same scores as its stage does.

    Raises HeirloomError when a file is missing or damaged.
    """
    training = read_json(files.training) if files.training else {}
    evaluation = read_json(files.evaluation) if files.evaluation else {}
    harness = read_json(files.harness) if files.harness else {}
    others = {
        other: tuple(read_json(found[other]) if other in found else {} for found in of_kinds)
        for of_kinds in [(files.others_evaluation, files.others_harness)]
        for other in {**files.others_evaluation, **files.others_harness}
    }
    return {
        "name": name,
        "training": training,
        "held_out": list(held_out_rows(training)),
        "curves": read_curves(files.losses) if files.losses else {},
        "evaluation": evaluation,
        "scores": score_rows(evaluation),
        "wins": win_rows(evaluation),
        "harness": harness_rows(harness),
        "gates": check_gates(gates or {}, evaluation, harness, others),
        "exports": read_exports(name),
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
