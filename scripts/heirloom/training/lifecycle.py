"""What every trainer's life has in common: resume, measure, train, measure again, save, report."""

import functools
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from heirloom.artifacts import new_artifact
from heirloom.config.parsing.section import Section
from heirloom.distributed import is_main_rank, say
from heirloom.models.trained_checkpoints import folders_of, root_of
from heirloom.training.batches.each_row_once import check_steps
from heirloom.training.callbacks.best_state import BestState
from heirloom.training.callbacks.collective_timeout import CollectiveTimeout
from heirloom.training.callbacks.finite_loss import FiniteLoss
from heirloom.training.callbacks.interruption import Interruption
from heirloom.training.callbacks.loss_history import LossHistory, rounded
from heirloom.training.callbacks.measurements import Measurements
from heirloom.training.callbacks.model_flops import Utilization, utilization
from heirloom.training.callbacks.progress import Progress
from heirloom.training.callbacks.resuming import (
    AlreadyTrainedError,
    CompleteCheckpoints,
    StopAfterLastStep,
    claim_work_folder,
    evaluation_is_due,
    newest_complete,
    stat_facts,
)
from heirloom.training.callbacks.saving_times import SaveByTime, leave_out_the_model
from heirloom.training.callbacks.throughput import Throughput
from heirloom.training.callbacks.trackers import tracker_callbacks
from heirloom.training.checkpoints.adapter_saving import as_named, check_joins
from heirloom.training.checkpoints.model_card import model_card
from heirloom.training.checkpoints.provenance import Provenance, trace
from heirloom.training.checkpoints.saving import save_checkpoint, write_json
from heirloom.training.checkpoints.saving_memory import check_memory_for_saving
from heirloom.training.checkpoints.trained_state import keep_state
from heirloom.training.gradient_check import check_first_gradients
from heirloom.training.inputs.adapter_bases import remove_base
from heirloom.training.inputs.experts import check_experts
from heirloom.training.inputs.parameter_counts import parameter_counts
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData


class Lifecycle:
    """Watches one training: construct the trainer with `shared_arguments`, then call `run`."""

    def __init__(self, command: TrainingCommand, **facts: Any) -> None:
        """`facts`: what heirloom.json of the checkpoint says besides."""
        self.command, self.own_facts = command, facts
        self.history = LossHistory()
        self.best = BestState(command.training, self.history)
        self.throughput = Throughput()
        self.progress = Progress(command.tracking.logging_steps, command.tracking.logging_first_step, self.throughput)
        self.measurements = Measurements()
        self.interruption = Interruption()

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """The order matters: a bad loss stops before it is kept, shown or saved, a signal after a checkpoint counts."""
        tracking = self.command.tracking
        return [
            FiniteLoss(),
            self.history,
            self.throughput,
            self.progress,
            self.measurements,
            *tracker_callbacks(self.command, self.facts_for_trackers, self.throughput),
            self.best,
            SaveByTime(tracking.save_minutes),
            CompleteCheckpoints(self.history, self.best, keep=tracking.save_total_limit),
            CollectiveTimeout(),
            StopAfterLastStep(),
            self.interruption,
        ]

    def shared_arguments(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        data: TrainingData,
        tokenizer: PreTrainedTokenizerFast,
    ) -> dict[str, Any]:
        """Return what every trainer is constructed with, whatever it trains, by the names of its arguments."""
        return {
            "model": model,
            "args": args,
            "train_dataset": data.train,
            "eval_dataset": data.test,
            "processing_class": tokenizer,
            "callbacks": self.callbacks,
        }

    def run(self, trainer: Trainer) -> None:
        """Train to the end, from the newest complete checkpoint if there is one, and write the three outputs.

        A base that was put together for this training is deleted, however it ends. The held-out rows are measured
        before the first step and after the last.
        Raises HeirloomError when the rows make no step, when ranks cannot train the experts together or saving takes
        more memory than is free, and InterruptionError when a signal stops it: a checkpoint of its step is kept and
        nothing else is written.
        """
        try:
            self._run(trainer)
        finally:
            remove_base(self.command)

    def _run(self, trainer: Trainer) -> None:
        check_steps(trainer)
        check_experts(trainer, self.command.base)
        check_joins(trainer, self.command)
        if is_main_rank():
            check_memory_for_saving(trainer, self.command)
        leave_out_the_model(trainer)
        self.best.keep = functools.partial(keep_state, trainer)
        trainer.remove_callback(PrinterCallback)  # prints every step's dict; Progress is for people
        work = Path(trainer.args.output_dir)
        claim_work_folder(work, self.facts_by_hand())
        checkpoint = newest_complete(work)
        if checkpoint:
            self.history.load(checkpoint)
            self.best.load(checkpoint)
            trainer.args.eval_on_start = evaluation_is_due(checkpoint, trainer.args, self.history)
            say(f"resuming from {checkpoint.name}")
        self.report_mfu_convention(utilization(trainer, self.command.trainer))
        if self.command.training.deterministic:
            check_first_gradients(trainer)
        with self.interruption.watch(trainer):
            with suppress(AlreadyTrainedError):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            self.history.end_row(trainer.state.global_step)
            self.measurements.leave(trainer.state, self.throughput.utilization)
            if trainer.eval_dataset is not None and not self.history.measured_at(trainer.state.global_step):
                trainer.evaluate()

        facts = {
            "trainer": self.command.trainer.name,
            "steps": trainer.state.global_step,
            "tokens": trainer.state.num_input_tokens_seen,
            **self.best.facts(trainer.state.global_step),
            **self.own_facts,
        }
        card = ""
        if is_main_rank():
            self.write_metrics(facts | parameter_counts(trainer.accelerator.unwrap_model(trainer.model)))
            card = self.card(trainer, facts)
            facts |= {"lineage": self.provenance.lineage, "dataset": self.provenance.dataset}
        save_checkpoint(trainer, self.command, facts, self.history.repeatable_rows, card, self.best.folder(work))
        if is_main_rank() and "HEIRLOOM_WORK_DIR" not in os.environ:
            shutil.rmtree(work)

    @functools.cached_property
    def provenance(self) -> Provenance:
        """Where this training comes from. Asked for on the main rank only: it reads all of the base's weights."""
        return trace(self.command.base, self.command.dataset)

    def report_mfu_convention(self, measure: Utilization | str | None) -> None:
        """Say once how the MFU is counted, or why there is none."""
        if measure is not None:
            say(str(measure))
        self.throughput.utilization = measure if isinstance(measure, Utilization) else None

    def sections(self, *left_out: str) -> dict[str, Any]:
        """Return the run's sections by name, as far as they differ from the defaults."""
        fields = vars(self.command).items()
        return {
            name: value.model_dump(mode="json", exclude_defaults=True)
            for name, value in fields
            if isinstance(value, Section) and name not in left_out
        }

    def facts_for_trackers(self) -> dict[str, Any]:
        """Return what a tracker is told of the run; `group` is the root of the run's chain of bases."""
        return {
            "group": self.provenance.root,
            "base": self.provenance.lineage,
            "dataset": self.provenance.dataset,
            "deepspeed": self.command.deepspeed.stem if self.command.deepspeed else None,
            **self.sections(),
            "identity": os.environ.get("HEIRLOOM_IDENTITY"),
            "commit": os.environ.get("HEIRLOOM_COMMIT"),
        }

    def card(self, trainer: Trainer, facts: dict[str, Any]) -> str:
        """Return the model card of the checkpoint."""
        alone = self.command.peft is not None and not self.command.peft.merge
        top = {"deepspeed": self.command.deepspeed.stem} if self.command.deepspeed else {}
        top |= {"portable": True} if self.command.portable else {}
        return model_card(
            name=self.command.output.name,
            trainer=facts["trainer"],
            kind=library_class(trainer),
            provenance=self.provenance,
            config={**top, **self.sections("tracking", "resources")},
            progress=facts,
            held_out={"before": self.history.held_out(0), "after": self.history.held_out(-1, facts.get("kept_step"))},
            adapter_of=as_named(root_of(self.command.base)) if alone else None,
            scores=self.command.trainer.scores,
        )

    def facts_by_hand(self) -> dict[str, Any]:
        """Return what makes two trainings the same where no ledger says it."""
        command = self.command
        return {
            "sections": [
                section.model_dump()
                for section in (command.training, command.peft, command.quantization, command.generation)
                if section is not None
            ],
            **({"portable": True} if command.portable else {}),
            "inputs": stat_facts(
                *(command.dataset, *folders_of(command.base), command.deepspeed),
                *(command.reference_scores, command.packed_rows, *command.reward_models.values()),
            ),
        }

    def write_metrics(self, facts: dict[str, Any]) -> None:
        """Write what was measured: JSON for `dvc metrics`, CSV for `dvc plots`."""
        if self.command.metrics:
            summary = {
                "before": self.history.held_out(0),
                "after": self.history.held_out(-1, facts.get("kept_step")),
                "train": {
                    "loss": rounded(self.history.loss_sum / max(facts["steps"], 1)),
                    **{name: facts[name] for name in facts if name != "trainer"},
                },
            }
            with new_artifact(self.command.metrics) as partial:
                write_json(partial, summary)
        if self.command.loss:
            with new_artifact(self.command.loss) as partial:
                self.history.write_csv(partial)


def library_class(trainer: Trainer) -> str:
    """Return the library's own class behind a trainer of ours, as `trl.DPOTrainer`."""
    bases = ((kind.__module__.partition(".")[0], kind.__name__) for kind in type(trainer).__mro__)
    return next(f"{library}.{name}" for library, name in bases if library in ("transformers", "trl"))
