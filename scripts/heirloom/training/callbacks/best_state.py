"""Which state of a training is the checkpoint, and when it ends, by what is measured of the held-out rows.

transformers keeps the best of its checkpoints for resuming, so `save_steps` would decide the result. Here the weights
are kept at each measurement that is better than all before it, beside those checkpoints. The rules are transformers'
own: `Trainer._determine_best_metric` and EarlyStoppingCallback, whose threshold counts for the patience alone. What is
measured before the first step is no candidate.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.config.sections.training import TrainingSection
from heirloom.distributed import barrier, gathered, is_first_rank_of_host, is_main_rank, say
from heirloom.errors import HeirloomError
from heirloom.training.callbacks.loss_history import LossHistory
from heirloom.training.callbacks.resuming import BEST, PREFIX, AlreadyTrainedError, delete, flushed_files

FILE = "best_state.json"
"""What a checkpoint for resuming knows of the measurements before it."""


class BestState(TrainerCallback):
    """Keeps the best state and stops early, as far as the run asks for it; its history must hear of each log first.

    `keep(folder)` writes the present state to a folder; every rank calls it. Set it before the training begins.
    """

    def __init__(self, training: TrainingSection, history: LossHistory) -> None:
        self.training = training
        self.history = history
        self.keep: Callable[[Path], None] | None = None
        self.step: int | None = None  # of the best measurement
        self.value = math.nan  # that measurement
        self.without = 0  # measurements in a row that are no better
        self.stopped = False
        self.saved_step = 0

    @property
    def metric(self) -> str:
        """The name under which the history has it."""
        return f"eval_{self.training.best_metric}"

    def folder(self, work: Path) -> Path | None:
        """Return where the best state is kept; None when the last state is wanted or nothing was measured yet."""
        wanted = self.training.load_best_model_at_end and self.step is not None
        return work / f"{BEST}{self.step}" if wanted else None

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if not self.training.compares_states or state.global_step == 0:
            return
        value = self.measured(state.global_step)
        best, patience = self.value, self.training.early_stopping_patience
        better = self.step is None or (value > best if self.training.more_is_better else value < best)
        enough = self.step is None or (better and abs(value - best) > self.training.early_stopping_threshold)
        self.without = 0 if enough else self.without + 1
        if better:
            self.step, self.value = state.global_step, value
            if folder := self.folder(Path(args.output_dir)):
                empty_folder(folder)
                self.keep(folder)
        if patience is not None and self.without >= patience and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = True
            control.should_save = self.saved_step < state.global_step  # as after the last step of any training
            say(
                f"step {state.global_step}/{state.max_steps}  {self.metric} was no better in {patience} measurements "
                f"({self.value:.6g} at step {self.step}): training ends"
            )

    def facts(self, last: int) -> dict[str, int | str]:
        """Return which step the checkpoint is of and why the training ended, where the run asks for it.

        {kept_step, end}: `end` is early_stopping or all_steps. `last`: the last step that was trained.
        """
        if not self.training.compares_states:
            return {}
        best = self.training.load_best_model_at_end and self.step is not None
        return {"kept_step": self.step if best else last, "end": "early_stopping" if self.stopped else "all_steps"}

    def measured(self, step: int) -> float:
        """Return the main rank's value of this step. Raises HeirloomError when there is none."""
        row = self.history.row_of(step)
        value = gathered(row.get(self.metric))[0]
        if value is None or math.isnan(value):
            found = ", ".join(name.removeprefix("eval_") for name in row if name.startswith("eval_"))
            raise HeirloomError(
                f"training.metric_for_best_model: {self.training.best_metric} of step {step} is no number; measured "
                f"were {found}: name one of these"
            )
        return value

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Raise AlreadyTrainedError where a training goes on from the checkpoint at which it had stopped."""
        if self.stopped:
            raise AlreadyTrainedError

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Write it on each host: by what its own checkpoints know a host says which states to delete."""
        self.saved_step = state.global_step
        if self.training.compares_states and is_first_rank_of_host():
            self.save(Path(args.output_dir) / f"{PREFIX}{state.global_step}")

    def save(self, folder: Path) -> None:
        """Write what is known so far into a checkpoint."""
        names = ("step", "value", "without", "stopped")
        content = {name: getattr(self, name) for name in names} if self.step is not None else {}
        (folder / FILE).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up what a checkpoint knows."""
        if self.training.compares_states:
            for name, value in json.loads((folder / FILE).read_text(encoding="utf-8")).items():
                setattr(self, name, value)

    def files(self, work: Path) -> dict[str, int]:
        """Return the size of each file of the best state by its name relative to a checkpoint, on the disk by then."""
        folder = self.folder(work)
        return {f"../{folder.name}/{name}": size for name, size in flushed_files(folder).items()} if folder else {}

    def delete_others(self, work: Path) -> None:
        """Delete the states that neither this training nor a checkpoint for resuming needs any more."""
        if not self.training.load_best_model_at_end:
            return
        known = [json.loads(file.read_text(encoding="utf-8")) for file in work.glob(f"{PREFIX}*/{FILE}")]
        needed = {f"{BEST}{step}" for step in (self.step, *(each.get("step") for each in known))}
        for folder in work.glob(f"{BEST}*"):
            if folder.name not in needed:
                delete(folder)


def empty_folder(folder: Path) -> None:
    """Make a folder anew, for the main rank to write a state into; what a killed training left of it goes."""
    if is_first_rank_of_host() and folder.exists():
        delete(folder)
    barrier()
    if is_main_rank():
        folder.mkdir(parents=True)
