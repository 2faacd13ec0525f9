"""The engines of `generation.engine`: how the ranks share the prompts, and the model.

    accelerate       each rank has the model and its share of the batches
    deepspeed        each rank has a part of every layer; all answer every batch together
    deepspeed_zero   each rank has a part of the weights and its share of the batches; all go in step
    continuous       each rank has the model and its share of the prompts

Whatever the engine, the ranks and the batches: in float32 the same prompt gets the same answer. In 16 bits each of them
rounds otherwise, which may change it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import gathered
from heirloom.inference.answers import Answerer
from heirloom.inference.continuous_batching import check_continuous, continuous_answers, first_tokens
from heirloom.inference.engine_check import Answers, check_engine, check_repeated
from heirloom.inference.prompts import AnswerKey, Prompt, into_batches
from heirloom.inference.tensor_parallel import check_tensor_parallel, split_over_ranks
from heirloom.inference.zero_inference import load_partitioned
from heirloom.models.batches import in_halves
from heirloom.models.trained_checkpoints import load_config, load_model, load_tokenizer

Rows = list[dict[str, Any]]


def load_answerer(checkpoint: Path, section: GenerationSection, ranks: PartialState) -> Answerer:
    """Load a checkpoint as the engine wants it; every rank calls this.

    Raises HeirloomError when there is no model, or one that the engine cannot run, or as `Answerer` does.
    """
    config = load_config(checkpoint)
    in_step = section.engine == "deepspeed_zero"
    if section.engine == "deepspeed":
        check_tensor_parallel(config, section, ranks.num_processes)
        model = load_model(checkpoint, section.default_dtype, section.attn_implementation)
        model = split_over_ranks(model, section, ranks.num_processes).to(ranks.device)
    elif in_step:
        model = load_partitioned(checkpoint, section)
    else:
        model = load_model(checkpoint, section.default_dtype, section.attn_implementation, ranks.device)
    if section.engine == "continuous":
        check_continuous(model)
    return Answerer(model, load_tokenizer(checkpoint), section, ranks.device, synced_gpus=in_step, logprobs=True)


class Engine:
    """Answers the prompts that are this rank's to answer."""

    def __init__(self, answerer: Answerer, prompts: Sequence[Prompt], ranks: PartialState) -> None:
        """`prompts` are those of all ranks; every rank calls this.

        Raises HeirloomError when the engine does not serve the model (heirloom/inference/engine_check.py).
        """
        self.answerer, self.ranks, self.engine = answerer, ranks, answerer.section.engine
        takes_batches = check_engine(answerer, prompts, self.own_answers)
        # continuous batching fills its batches itself
        alone = self.engine == "continuous" or not takes_batches
        batches = into_batches(prompts, 1 if alone else answerer.section.test_batch_size)
        self.together = self.engine == "deepspeed"
        self.batches = batches if self.together else batches[ranks.process_index :: ranks.num_processes]

    @property
    def own_answers(self) -> Callable[[Sequence[Prompt]], Answers] | None:
        """How the engine answers a few prompts for the check; None for those that answer by `generate`."""
        return partial(first_tokens, self.answerer) if self.engine == "continuous" else None

    @property
    def total(self) -> int:
        """How many answers this rank reports."""
        return sum(map(len, self.batches)) if self.reports else 0

    @property
    def ranks_in_parallel(self) -> int:
        """How many ranks work on answers of their own."""
        return 1 if self.together else self.ranks.num_processes

    @property
    def reports(self) -> bool:
        """Whether this rank's answers count; those that all ranks make together count once."""
        return not self.together or self.ranks.is_main_process

    def answers(self, done: set[AnswerKey]) -> Iterator[Rows]:
        """Yield rows as they are finished, of all prompts but those whose keys are `done`. Every rank calls this."""
        if self.together:  # what the main rank has kept decides for all
            done = set(map(tuple, gathered(sorted(done))[0]))
        pending = [batch for batch in self.batches if any(prompt.key not in done for prompt in batch)]
        if self.engine == "continuous":
            left = [prompt for batch in pending for prompt in batch]
            yield from ([row] for row in continuous_answers(self.answerer, left))
            return
        steps = max(gathered(len(pending))) if self.answerer.synced_gpus else len(pending)
        for step in range(steps):
            twice = step == 0 and self.answerer.section.deterministic
            if step < len(pending):
                rows = self.answer(pending[step])
                if twice:
                    check_repeated(rows, self.answer(pending[step]))
                yield rows
            else:  # the others need this rank's part of the weights
                for _ in range(1 + twice):
                    self.answerer.answer(self.spare_batch())

    def spare_batch(self) -> list[Prompt]:
        """Return a batch of one, to keep step with."""
        return self.batches[0][:1] if self.batches else [Prompt(0, "", "", (self.answerer.end_ids[0],), None)]

    def answer(self, batch: list[Prompt]) -> Rows:
        """Answer a batch; where memory does not suffice, its halves, which 16 bits round otherwise."""
        if self.together or self.answerer.synced_gpus:  # ranks that go in step must not go different ways
            return self.answerer.answer(batch)
        return in_halves(self.answerer.answer, batch, "answered")
