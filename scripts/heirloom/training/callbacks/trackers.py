"""Send the course of a training to an experiment tracker, as often as `tracking.logging_steps` says.

A stage that is interrupted and started again goes on in the same run of the tracker, because the run's id is the
stage's identity. Where a tracker keeps its files: Weights & Biases in wandb/, TensorBoard in logs/tensorboard/.
"""

import hashlib
import importlib.util
import netrc
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, WandbCallback, get_reporting_integration_callbacks

from heirloom import rank
from heirloom.config.sections.tracking import TrackingSection
from heirloom.distributed import say
from heirloom.errors import HeirloomError
from heirloom.training.callbacks.resuming import CLAIM, work_folder
from heirloom.training.callbacks.throughput import Moment, Throughput
from heirloom.training.inputs.training_command import TrainingCommand

WANDB_HOST = "api.wandb.ai"
TENSORBOARD_FOLDER = Path("logs/tensorboard")
COUNTERS = ("epoch", "num_input_tokens_seen")
"""Logged values that grow with the steps: of several the last one counts, not their mean."""


def chosen_trackers(tracking: TrackingSection) -> list[str]:
    """Return the names in `report_to`, without `none`."""
    names = [tracking.report_to] if isinstance(tracking.report_to, str) else tracking.report_to
    return [name for name in names if name != "none"]


def check_trackers(tracking: TrackingSection) -> None:
    """Raise HeirloomError when the package of a chosen tracker is not installed: better now than after loading."""
    for name in chosen_trackers(tracking):
        rank.allow(name)
        if importlib.util.find_spec(name) is None:
            raise HeirloomError(
                f"tracking.report_to: the package {name} is not installed in this environment: add it to `training` "
                "in pyproject.toml and run `make lock setup`, or choose wandb, tensorboard or none"
            )


def tracker_callbacks(
    command: TrainingCommand, facts: Callable[[], dict[str, Any]], throughput: Throughput
) -> list[TrainerCallback]:
    """Return a callback for each tracker in `report_to`; Weights & Biases works offline where it has no key.

    `facts` returns what Weights & Biases is told of the run besides the trainer's arguments; `group` among them is
    the run's group. It is called on the main rank, when the training begins. `throughput` must hear of each log first.
    """
    callbacks: list[TrainerCallback] = []
    for name in chosen_trackers(command.tracking):
        if name == "wandb":
            rank.allow("wandb")
            os.environ.setdefault("WANDB_MODE", "online" if has_wandb_key() else "offline")
            os.environ.setdefault("WANDB_SILENT", "true")
            callbacks.append(WandbRun(command, facts))
        elif name == "tensorboard":
            callbacks.append(TensorBoardRun(command))
        else:
            callbacks += [kind() for kind in get_reporting_integration_callbacks([name])]
    return [AveragedLogs(callback, command.tracking.logging_steps, throughput) for callback in callbacks]


def has_wandb_key() -> bool:
    """Say whether a key for Weights & Biases is at hand: in the environment or in ~/.netrc (`wandb login`)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def run_id(output: Path) -> str:
    """Return the id under which a tracker keeps the training that writes `output`.

    It is the stage's identity (64 hex digits, which is as long as Weights & Biases allows). By hand it is made of what
    tells trainings apart there, see `claim_work_folder` in `heirloom.training.callbacks.resuming`, which must have been
    called.
    """
    identity = os.environ.get("HEIRLOOM_IDENTITY")
    if identity:
        return identity
    claimed = (work_folder(output) / CLAIM).read_bytes()
    return hashlib.sha256(str(output).encode() + b"\n" + claimed).hexdigest()[:16]


class WandbRun(WandbCallback):
    """transformers' callback, on a run whose id, name, group and config say what is trained."""

    def __init__(self, command: TrainingCommand, facts: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self.command = command
        self.facts = facts

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            facts = self.facts()
            self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", self.command.tracking.project),
                id=run_id(self.command.output),
                resume="allow",
                name=self.command.tracking.run_name or self.command.output.name,
                group=facts["group"],
                config={"heirloom": facts},
                allow_val_change=True,  # a resumed run may be told of another commit
            )
        super().setup(args, state, model, **kwargs)

    def show_completions(self, step: int, columns: list[str], rows: list[list[Any]]) -> None:
        """Log answers as a table."""
        self._wandb.log({"completions": self._wandb.Table(columns=columns, data=rows), "train/global_step": step})


class TensorBoardRun(TensorBoardCallback):
    """transformers' callback, writing to logs/tensorboard/NAME/ID: outside the artifact, and kept after success."""

    def __init__(self, command: TrainingCommand) -> None:
        super().__init__()
        self.output = command.output

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            folder = TENSORBOARD_FOLDER / self.output.name / run_id(self.output)[:16]
            repeated = state.global_step + 1 if state.global_step else 0  # an interrupted run had logged more
            self.tb_writer = self._SummaryWriter(log_dir=str(folder), purge_step=repeated)
        super().on_train_begin(args, state, control, **kwargs)

    def show_completions(self, step: int, columns: list[str], rows: list[list[Any]]) -> None:
        """Log answers as text. It is Markdown to TensorBoard: what is indented by four is shown as it is."""
        told = "\n\n".join(
            f"{name}\n\n" + "\n".join(f"    {line}" for line in str(value).splitlines() or [""])
            for row in rows
            for name, value in zip(columns, row, strict=True)
        )
        self.tb_writer.add_text("completions", told, step)


def show_completions(callbacks: Sequence[TrainerCallback], step: int, rows: Sequence[dict[str, Any]]) -> None:
    """Send answers, as `completion_history.answer_rows` gives them, to the trackers among `callbacks` that show texts:
    Weights & Biases and TensorBoard. Call it on the main rank. A tracker that cannot write them (W&B goes through a
    folder of temporary files) costs no training: that is said.
    """
    if not rows:
        return
    columns = ["prompt", "completion", *rows[0]["rewards"], "reward", "advantage"]
    table = [
        [row["prompt"], row["completion"], *row["rewards"].values(), row["reward"], row["advantage"]] for row in rows
    ]
    for callback in (each.callback for each in callbacks if isinstance(each, AveragedLogs)):
        if isinstance(callback, WandbRun | TensorBoardRun):
            try:
                callback.show_completions(step, columns, table)
            except OSError as error:
                say(f"step {step}  {type(callback).__name__} was not shown the answers: {error}")


class AveragedLogs(TrainerCallback):
    """Passes a trainer's events on to `callback`, logged values as means over `every` steps, with speed and memory."""

    def __init__(self, callback: TrainerCallback, every: int, throughput: Throughput) -> None:
        self.callback = callback
        self.every = every
        self.throughput = throughput
        self.began: Moment | None = None
        self.pending: dict[str, list[float]] = defaultdict(list)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.callback.on_train_begin(args, state, control, **kwargs)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.began is None:  # at a later step than the first where a training goes on
            self.began = self.throughput.now

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        if "loss" in logs:
            for name, value in logs.items():
                self.pending[name].append(value)
            if state.global_step % self.every and state.global_step != state.max_steps:
                return
            logs = {
                name: values[-1] if name in COUNTERS else sum(values) / len(values)
                for name, values in self.pending.items()
            }
            self.pending.clear()
            logs |= self.throughput.since(self.began)
            self.began = self.throughput.now
        self.callback.on_log(args, state, control, logs=logs, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.callback.on_train_end(args, state, control, **kwargs)
