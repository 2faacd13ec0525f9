"""Continuous batching: an answer that is finished makes room for the next prompt at once (Orca, OSDI 2022).

transformers keeps the answers' keys and values in pages and refills its batch at every step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.completion_logprobs import DECIMALS
from heirloom.inference.prompts import Prompt

PAGE_SIZE = 64  # tokens
REQUESTS_ON_CPU = 8
"""Attention on a CPU goes over the pages of all answers for each, so more at once cost more than they save."""


def continuous_answers(answerer: Answerer, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """Yield one row an answer as soon as it is finished. Raises HeirloomError when the engine cannot go on."""
    if not prompts:
        return
    waiting = {prompt.key: prompt for prompt in prompts}
    with answerer.model.continuous_batching_context_manager(
        generation_config=GenerationConfig(
            max_new_tokens=answerer.section.max_new_tokens,
            do_sample=False,
            eos_token_id=list(answerer.end_ids),
            pad_token_id=answerer.pad_id,
        ),
        continuous_batching_config=sizes(prompts, answerer.section.max_new_tokens),
    ) as manager:
        for key, prompt in waiting.items():
            manager.add_request(list(prompt.ids), key, answerer.longest_answer(prompt))
        while waiting:
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise HeirloomError(f"generation.engine: continuous ended with {len(waiting)} prompts unanswered")
                continue
            if not result.is_finished():
                continue
            prompt = waiting.pop(result.request_id)
            if result.error is not None:
                raise HeirloomError(f"generation.engine: continuous failed at {prompt.row_id}: {result.error}")
            answer_ids, finished = answerer.without_end(prompt, result.generated_tokens)
            logprob = round(sum(result.logprobs[: len(answer_ids)]), DECIMALS)
            yield answerer.row(prompt, answer_ids, finished) | {"logprob": logprob}


def sizes(prompts: Sequence[Prompt], max_new_tokens: int) -> ContinuousBatchingConfig:
    """Return how much is in flight: on a GPU what its memory holds, on a CPU a fixed number of answers.

    Left to itself, transformers fills half of a CPU's memory with pages and takes ten times as long.
    """
    if not on_cpu():
        return ContinuousBatchingConfig(return_logprobs=True)
    longest = max(len(prompt.ids) for prompt in prompts) + max_new_tokens
    return ContinuousBatchingConfig(
        return_logprobs=True,
        page_size=PAGE_SIZE,
        num_blocks=REQUESTS_ON_CPU * (-(-longest // PAGE_SIZE) + 1),
        max_requests_per_batch=REQUESTS_ON_CPU,
        max_batch_tokens=max(256, REQUESTS_ON_CPU),
    )
