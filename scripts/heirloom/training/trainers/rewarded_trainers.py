"""TRL's trainers that learn from rewards of their own answers, with prompts that are tokenized already.

Advantages, losses and what is logged are TRL's. Ours is what an answer depends on: the weights, the prompt, the seed,
the step and the number of the answer, not the rank that draws it, nor what was drawn before. So a training that goes
on from a checkpoint learns the same, and in float32 so does one on another number of ranks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from torch.utils.data import Sampler as RowSampler
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput
from trl import GRPOTrainer, RLOOTrainer
from trl.models import prepare_deepspeed, unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, split_tensor_dict

from heirloom.distributed import is_main_rank, rank, say
from heirloom.inference.prompts import Prompt
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.callbacks.completion_history import ANSWERS, CompletionHistory, answer_rows
from heirloom.training.callbacks.trackers import show_completions
from heirloom.training.losses.generated_evaluation import HeldOutAnswers
from heirloom.training.rewards.functions import Rewards
from heirloom.training.rewards.sampling import Sampler
from heirloom.training.trainers.pretokenized_trainers import HeadUnderZero3, WithoutModelCard

SHOWN = 120
"""Characters of a prompt's end and of an answer's beginning that the log shows."""
OF_ANSWER = "answer"
"""What TRL's trainer keeps beside an answer: which row it answers, the reference, its tokens, and how it ended."""


class RowsByEpoch(RepeatSampler):
    """TRL's order of prompts, drawn anew for each epoch from seed and epoch alone: a training may begin in any."""

    def __init__(self, trainer: Trainer, **others: Any) -> None:
        super().__init__(**others)
        self.trainer = trainer

    def __iter__(self) -> Iterator[int]:
        epoch = int(self.trainer.state.epoch or 0)  # of the epoch that begins, or goes on after an interruption
        self.generator.manual_seed((self.seed + epoch) % 2**63)
        return super().__iter__()


class OwnAnswers:
    """Mixin for GRPOTrainer or RLOOTrainer: answers through `sampler`, held-out ones through `held_out`; set both.

    The batch of answers is that of an optimizer step. It is learned from `num_iterations` times; a checkpoint between
    holds it.
    """

    sampler: Sampler
    held_out: HeldOutAnswers | None = None
    show_every = 0
    """Steps between two times that the log and the trackers show answers; 0: never."""
    shown_answers = 0
    """How many they show then."""

    def __init__(
        self, model: PreTrainedModel, args: Any, rewards: Rewards, reference: PreTrainedModel | None, **others: Any
    ) -> None:
        """`reference`: the model that the KL divergence is measured to; None without one, and with an adapter."""
        beta, args.beta = args.beta, 0.0  # or TRL would load the reference from a path, as another model maybe
        args.reward_weights = list(rewards.weights)
        functions = [self.reward_function(rewards, number) for number in range(len(rewards.functions))]
        super().__init__(model=model, args=args, reward_funcs=functions, **others)
        self.data_collator = batch_of_prompts
        self.rewards, self.asked, self.drawn_at = rewards, [], -1
        self.completions = CompletionHistory()
        args.beta = self.beta = beta
        if beta and reference is not None:
            add_fused_lm_head(reference, temperature=args.temperature)
            if self.is_deepspeed_enabled:
                self.ref_model = prepare_deepspeed(reference, self.accelerator)
            else:
                self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)

    def reward_function(self, rewards: Rewards, number: int) -> Any:
        """Return one of the rewards as TRL calls it."""

        def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
            rows = [
                {
                    "row_id": prompt.row_id,
                    "sample": prompt.sample,
                    "prompt": prompt.text,
                    "completion": completion,
                    "reference": prompt.reference,
                    "finish_reason": "stop" if ids[-1] in self.eos_token_ids else "length",
                    "completion_tokens": len(ids) - (ids[-1] in self.eos_token_ids),
                }
                for prompt, completion, ids in zip(self.asked, completions, completion_ids, strict=True)
            ]
            return list(rewards.functions[number](rows))

        reward.__name__ = rewards.labels[number]
        return reward

    # ---- which prompts, and when ----

    def _get_train_sampler(self, dataset: Dataset | None = None) -> RowSampler:
        """Return TRL's sampler with an order that epochs have of their own."""
        args = self.args
        return RowsByEpoch(
            self,
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the answers of a forward pass: drawn at the first of a batch, and then kept.

        TRL draws by its own count, which begins with a start, and mixes the passes by the rank's random numbers.
        """
        step, passes = self.state.global_step, self.args.steps_per_generation
        if step % self.num_iterations == 0 and self.drawn_at != step:
            answers = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs, self.drawn_at = split_tensor_dict(answers, passes), step
        return self._buffered_inputs[self._step % passes]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Draw and score an answer to each row; a row stands as often side by side as it gets answers."""
        first = rank() * len(inputs)
        self.asked = [
            Prompt(
                position=place,
                row_id=f"{row['row']}/{self.state.global_step}",
                text=row["prompt"],
                ids=tuple(row["prompt_ids"].tolist()),
                reference=row["reference"],
                sample=place % self.num_generations,
            )
            for place, row in enumerate(inputs, start=first)
        ]
        found = super()._generate_and_score_completions(inputs)
        if self.keeps_answers:
            self.keep_answers()
        return found

    @property
    def keeps_answers(self) -> bool:
        """Whether the history of answers wants some of those that are drawn now."""
        return self.completions.is_due(self.state.global_step, self.state.max_steps, self.num_iterations)

    def keep_answers(self) -> None:
        """Add some of the answers that were just drawn, and scored, to their history."""
        rows = answer_rows(self._logs, self.rewards.weights, ANSWERS)
        for row, own in zip(rows, islice(self._logs["extra"][OF_ANSWER], ANSWERS), strict=True):
            self.completions.rows.append({"step": self.state.global_step + 1, **row, **own})

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Return the tokens of the rows that are answered now."""
        return [list(prompt.ids) for prompt in self.asked], None, {}

    def _generate_single_turn(self, *_args: Any, **_others: Any) -> tuple[list[list[int]], list[list[float]]]:
        """Return tokens and their log-probabilities of an answer to each row that is answered now."""
        with self.weights_for_answers():
            completions = self.sampler(self.asked)
        if self.keeps_answers:
            own = [
                {
                    "row": int(prompt.row_id.partition("/")[0]),
                    "reference": prompt.reference,
                    "completion_tokens": len(each.ids) - each.finished,
                    "finish_reason": "stop" if each.finished else "length",
                }
                for prompt, each in zip(self.asked, completions, strict=True)
            ]
            self._log_completion_extra(OF_ANSWER, own)  # TRL gathers it from all ranks
        return [each.ids for each in completions], [each.logprobs for each in completions]

    def _generate(self, prompts: list[str]) -> tuple:
        """Log also the share of answers that ended by themselves."""
        found = super()._generate(prompts)
        metrics = self._metrics["train"]
        metrics["completions/finished"].append(1 - metrics["completions/clipped_ratio"][-1])
        return found

    @contextmanager
    def weights_for_answers(self) -> Iterator[None]:
        """Let the model answer inside: no dropout, no gradients, all weights on each rank, also under ZeRO-3."""
        training = self.model.training
        self.model.eval()
        try:
            with (
                torch.no_grad(),
                unwrap_model_for_generation(
                    self.model_wrapped,
                    self.accelerator,
                    gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
                ),
            ):
                yield
        finally:
            self.model.train(training)

    # ---- held-out prompts ----

    def evaluation_loop(self, *_args: Any, metric_key_prefix: str = "eval", **_others: Any) -> EvalLoopOutput:
        """Return the mean rewards of one answer to each held-out prompt, drawn by the same random numbers each time."""
        self.model.eval()
        with self.weights_for_answers():
            rows = self.held_out.answers()
        parts = self.rewards.parts(rows)
        metrics = {"reward": fmean(map(self.rewards.total, parts))}
        for label, column in zip(self.rewards.labels, zip(*parts, strict=True), strict=True):
            metrics[f"rewards/{label}/mean"] = fmean(column)
        metrics["completions/mean_length"] = fmean(row["completion_tokens"] for row in rows)
        metrics["completions/finished"] = fmean(row["finish_reason"] == "stop" for row in rows)
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=named, num_samples=len(rows))

    # ---- what is kept and told ----

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """Count nothing: TRL counts the tokens of prompts and answers when they are drawn."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Save as TRL does, the answers of this rank that are still to be learned from, and the history of answers."""
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if is_main_rank():
            self.completions.save(folder)
        if self.state.global_step % self.num_iterations:
            torch.save(self._buffered_inputs, folder / answers_file())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load as TRL does, the answers that are still to be learned from, and the history of answers."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and is_main_rank():
            self.completions.load(Path(checkpoint))
        file = Path(checkpoint) / answers_file() if checkpoint is not None else None
        if file is not None and file.is_file():
            kept = torch.load(file, map_location="cpu", weights_only=True)
            self._buffered_inputs = send_to_device(kept, self.args.device)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as TRL does; every `show_every` steps also show answers, in the log and to the trackers."""
        super().log(logs, *args, **kwargs)
        step = self.state.global_step
        if "loss" in logs and self.show_every and step % self.show_every == 0 and is_main_rank():
            shown = list(answer_rows(self._logs, self.rewards.weights, self.shown_answers))
            for row in shown:
                say(shown_answer(step, row))
            show_completions(self.callback_handler.callbacks, step, shown)


def batch_of_prompts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a batch, their ids as arrays: what moves a batch to a device looks at each item of a list."""
    return [{**row, "prompt_ids": np.array(row["prompt_ids"])} for row in rows]


def answers_file() -> str:
    """Return the name of the file in a checkpoint that holds this rank's answers."""
    return f"answers-{rank()}.pt"


def shown_answer(step: int, row: dict[str, Any]) -> str:
    """Return an answer, with its rewards and its advantage, as one line."""
    rewards = "  ".join(f"{label} {value}" for label, value in row["rewards"].items())
    return (
        f"step {step}  an answer: {row['completion'][:SHOWN]!r} to …{row['prompt'][-SHOWN:]!r}: {rewards}  "
        f"advantage {row['advantage']}"
    )


class PretokenizedGRPOTrainer(OwnAnswers, HeadUnderZero3, WithoutModelCard, StepCounts, GRPOTrainer):
    """GRPOTrainer (Shao et al., 2024, https://arxiv.org/abs/2402.03300) on the rows of `prompt_rows`."""


class PretokenizedRLOOTrainer(OwnAnswers, HeadUnderZero3, WithoutModelCard, StepCounts, RLOOTrainer):
    """RLOOTrainer (Ahmadian et al., 2024, https://arxiv.org/abs/2402.14740) on the rows of `prompt_rows`."""

    def _generate_single_turn(self, *args: Any, **others: Any) -> list[list[int]]:
        """Return tokens of an answer to each row that is answered now; TRL's RLOOTrainer asks for nothing else."""
        return super()._generate_single_turn(*args, **others)[0]
