"""Continuous batching: an answer that is finished makes room for the next prompt at once (Orca, OSDI 2022).

transformers keeps the answers' keys and values in pages and refills its batch at every step.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.utils.generic import is_flash_attention_requested

from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.inference.answers import Answerer
from heirloom.inference.completion_logprobs import DECIMALS
from heirloom.inference.prompts import Prompt

LAYERS = ("full_attention", "sliding_attention")
"""The kinds of layers whose keys and values have pages."""
CHECKED = 4
"""Tokens of an answer that are compared with a plain pass before the first batch."""
PAGE_SIZE = 64  # tokens
REQUESTS_ON_CPU = 8
"""Attention on a CPU goes over the pages of all answers for each, so more at once cost more than they save."""


def continuous_answers(answerer: Answerer, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """Yield one row an answer as soon as it is finished. Raises HeirloomError when the engine cannot go on."""
    for prompt, tokens, logprobs in generated(answerer, prompts, answerer.section.max_new_tokens):
        answer_ids, finished = answerer.without_end(prompt, tokens)
        logprob = round(sum(logprobs[: len(answer_ids)]), DECIMALS)
        yield answerer.row(prompt, answer_ids, finished) | {"logprob": logprob}


def generated(
    answerer: Answerer, prompts: Sequence[Prompt], max_new_tokens: int
) -> Iterator[tuple[Prompt, list[int], list[float]]]:
    """Yield each prompt with the tokens of its answer and their log-probabilities (nats), in the order of finishing.

    Raises HeirloomError when the engine cannot go on.
    """
    if not prompts:
        return
    waiting = {str(index): prompt for index, prompt in enumerate(prompts)}
    with answerer.model.continuous_batching_context_manager(
        generation_config=GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(answerer.end_ids),
            pad_token_id=answerer.pad_id,
        ),
        continuous_batching_config=sizes(prompts, max_new_tokens),
    ) as manager:
        for name, prompt in waiting.items():
            manager.add_request(list(prompt.ids), name, min(max_new_tokens, answerer.longest_answer(prompt)))
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
            yield prompt, list(result.generated_tokens), list(result.logprobs)


def first_tokens(answerer: Answerer, prompts: Sequence[Prompt]) -> list[tuple[list[int], list[float]]]:
    """Return the first tokens of each prompt's answer and their log-probabilities (nats), for the check of engines."""
    found = {prompt: (tokens, logprobs) for prompt, tokens, logprobs in generated(answerer, prompts, CHECKED)}
    return [(tokens, logprobs[: len(tokens)]) for tokens, logprobs in (found[prompt] for prompt in prompts)]


def check_continuous(model: PreTrainedModel) -> None:
    """Raise HeirloomError for a model that transformers' paged attention does not serve, or serves wrongly."""
    config = model.config.get_text_config()
    kind = config.model_type
    remedy = "use engine: accelerate"
    if model.config.is_encoder_decoder:
        raise HeirloomError(f"generation.engine: continuous knows no encoder-decoder models such as {kind}: {remedy}")
    others = sorted(set(getattr(config, "layer_types", None) or ()) - set(LAYERS))
    if others:
        raise HeirloomError(
            f"generation.engine: continuous keeps pages of keys and values, and this {kind} model has layers of "
            f"{', '.join(others)}: {remedy}"
        )
    if not model._supports_attention_backend:
        raise HeirloomError(
            f"generation.engine: continuous cannot serve a {kind} model: transformers gives it no attention in pages, "
            f"and its answers would be wrong: {remedy}"
        )
    flash = is_flash_attention_requested(requested_attention_implementation=config._attn_implementation)
    if getattr(config, "attn_logit_softcapping", None) is not None and not flash:
        raise HeirloomError(
            f"generation.engine: continuous drops attn_logit_softcapping {config.attn_logit_softcapping:g} of this "
            f"{kind} model here (its attention is {config._attn_implementation}): {remedy}"
        )


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
