"""Stop a training on a signal without losing work: all ranks at one step, with a checkpoint, and not as a success.

A spot market, a batch system or a person sends SIGTERM (or SIGINT, SIGHUP) and kills the processes some time later.
Ranks get a signal at different moments and cannot stop alone, because each step needs all of them. So a rank only
notes it, and after each step, each batch of held-out rows and each checkpoint the ranks agree whether any got one.

Before its first step (imports, data, model) a training has nothing to keep, and while the finished model is written
the last step's checkpoint is complete: then a signal ends the process at once.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from heirloom.distributed import barrier
from heirloom.errors import HeirloomError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class InterruptionError(HeirloomError):
    """A signal stopped the training before its end; the script ends as a shell reports it, with 128 + signal."""

    def __init__(self, number: int, state: TrainerState) -> None:
        name = signal.Signals(number).name
        if state.global_step:
            super().__init__(
                f"stopped by {name} at step {state.global_step} of {state.max_steps}; a checkpoint of that step is "
                "kept: started again, it goes on from there"
            )
        else:
            super().__init__(f"stopped by {name} before the first step; started again, it begins anew")
        self.exit_code = 128 + number


class Interruption(TrainerCallback):
    """Stops a training after a signal. Give it to the trainer as its last callback, and train inside `watch`."""

    def __init__(self) -> None:
        self.noted = 0  # the signal that this rank got
        self.agreed = 0  # the signal that every rank knows of
        self.saved_step = 0  # the latest step that a checkpoint holds
        self.handlers: dict[int, Any] = {}  # those before ours

    @contextmanager
    def watch(self, trainer: Trainer) -> Iterator[None]:
        """Turn a signal during the block into InterruptionError, on every rank, once a checkpoint of the step is kept.

        Afterwards signals do again what they did before.
        """
        try:
            yield
            self.stop_if_agreed(trainer.args, trainer.state)
        except InterruptionError:
            if self.saved_step < trainer.state.global_step:  # stopped while the held-out rows were measured
                trainer._save_checkpoint(trainer.model, trial=None)
                trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
            barrier()  # no rank ends before the main rank has marked the checkpoint as complete
            raise
        finally:
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
        if self.noted:
            signal.raise_signal(self.noted)  # it came after the ranks had agreed that there was none

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.noted = number

    def agree(self, device: torch.device) -> int:
        """Return the signal that any rank has noted, 0 for none: the same on all. Every rank calls it together.

        It costs a rank next to nothing: the trainer gathers the loss of every step and of every held-out batch too.
        """
        if not self.agreed:
            number = torch.tensor(self.noted, device=device)
            if torch.distributed.is_initialized():
                torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            self.agreed = int(number)
        return self.agreed

    def stop_if_agreed(self, args: TrainingArguments, state: TrainerState) -> None:
        if number := self.agree(args.device):
            raise InterruptionError(number, state)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.saved_step = state.global_step  # that of the checkpoint which it goes on from
        # torchrun signals a rank's whole process group; a data loader's worker that ends would fail the step
        os.register_at_fork(after_in_child=os.setpgrp)
        barrier()  # a rank that still dies of a signal does so before any other only notes it
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish
                self.handlers[number] = signal.signal(number, self.note)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.agree(args.device):
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False  # made up for when it goes on, see `resuming.evaluation_is_due`

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.agreed:
            control.should_evaluate = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.saved_step = state.global_step
        if self.agree(args.device):
            control.should_training_stop = True

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.stop_if_agreed(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.stop_if_agreed(args, state)
