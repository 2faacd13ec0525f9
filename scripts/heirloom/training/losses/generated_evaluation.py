"""Evaluation that lets the model answer the held-out prompts and scores its answers.

Upstream's Seq2SeqTrainer hands whole rows to `generate`: a decoder-only model then finds the answer in its prompt.
And it counts the rows that fill up the last batch. Here the prompts alone are answered, by the same code, batches and
seeds as in the stage of generation, so that the scores are the same on any number of ranks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.trainer_utils import EvalLoopOutput

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import gathered_rows, is_main_rank, rank, world_size
from heirloom.evaluation.answer_metrics import exact_match, token_counts
from heirloom.inference.answers import Answerer
from heirloom.inference.generation_progress import Progress
from heirloom.inference.prompts import Prompt, check_lengths, into_batches, read_prompts
from heirloom.models.language_models import without_adapter


@dataclass(frozen=True)
class HeldOutAnswers:
    """The held-out prompts of a dataset and a model in training that answers them."""

    prompts: list[Prompt]
    answerer: Answerer

    def answers(self) -> list[dict[str, Any]]:
        """Return one row a prompt in dataset order, as in generations.jsonl. Every rank calls it and gets all.

        Under ZeRO-3 every rank has to take part in every forward pass. So all answer as many batches: a rank without
        one of its own answers the first again, to the same result.
        """
        batches = into_batches(self.prompts, self.answerer.section.test_batch_size)
        mine = batches[rank() :: world_size()]
        if self.answerer.synced_gpus:
            mine += batches[:1] * (-(-len(batches) // world_size()) - len(mine))
        progress = Progress(sum(map(len, mine)), 0, world_size(), is_main_rank())
        rows = []
        for batch in mine:
            rows += self.answerer.answer(batch)
            progress.advance(len(batch), sum(row["completion_tokens"] for row in rows[-len(batch) :]))
        answered = {row["row_id"]: row for row in gathered_rows(rows)}
        return [answered[prompt.row_id] for prompt in self.prompts]

    def scores(self) -> dict[str, float]:
        """Return exact_match (share of answers equal to the reference), gen_len (mean tokens of an answer) and
        finished (share of answers that ended by themselves).
        """
        rows = self.answers()
        counts = token_counts(rows)
        return {
            "exact_match": exact_match(rows, None)["exact_match"],
            "gen_len": counts["completion"]["mean"],
            "finished": counts["finished"],
        }


def held_out_answers(
    dataset: Path,
    section: GenerationSection,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    args: TrainingArguments,
) -> HeldOutAnswers:
    """Return what lets `model`, which is trained on `dataset`, answer as the run's `generation:` section says.

    Raises HeirloomError for a dataset without prompts, prompts that are too long, or options transformers refuses.
    """
    prompts = read_prompts(dataset, section.limit)
    answerer = Answerer(
        without_adapter(model), tokenizer, section, args.device, synced_gpus=is_deepspeed_zero3_enabled()
    )
    check_lengths(prompts, section, answerer.positions, apart=answerer.encoder_decoder)
    return HeldOutAnswers(prompts, answerer)


class GeneratedEvaluation:
    """Mixin for a Seq2SeqTrainer: set `held_out_answers`, and evaluation reports their scores too."""

    held_out_answers: HeldOutAnswers | None = None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Return Trainer's result, with the scores of the answers among its metrics."""
        self.gather_function = self.accelerator.gather_for_metrics  # Seq2SeqTrainer's own keeps what fills up a batch
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.held_out_answers is not None:
            scores = self.held_out_answers.scores()
            output.metrics.update({f"{metric_key_prefix}_{name}": score for name, score in scores.items()})
        return output
