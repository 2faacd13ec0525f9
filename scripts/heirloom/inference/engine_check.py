"""Whether an engine serves a model: before the first batch, what it says of one prompt is compared with a plain pass.

An engine computes an answer with a cache, with padding, in pages or on split layers. A plain pass takes prompt and
answer at once, without any of these, and is what the model was trained as. Some models do not go together with some
engines and give other numbers without an error: models with positions of their own in paged attention, models that read
padding as text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from transformers import GenerationConfig, PreTrainedModel

from heirloom.distributed import say
from heirloom.errors import HeirloomError
from heirloom.failures import first_line, is_memory
from heirloom.inference.answers import Answerer, padded
from heirloom.inference.completion_logprobs import plain_logprobs
from heirloom.inference.continuous_batching import CHECKED
from heirloom.inference.prompts import Prompt
from heirloom.models.trained_checkpoints import was_saved_quantized

TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
"""Nats by which the log-probability of a token may differ: sums in another order, rounded to the type's digits."""
QUANTIZED_TOLERANCE = 1.0
"""Weights in 8 bits are multiplied with inputs that are rounded by the batch."""

Answers = list[tuple[list[int], list[float]]]
"""For each prompt the tokens of an answer and their log-probabilities (nats)."""


def two_lengths(prompts: Sequence[Prompt], positions: int | None) -> list[Prompt]:
    """Return a prompt of middling length and one that is half of it (or twice, if it has one token): a padded batch."""
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.ids), prompt.position, prompt.sample))
    prompt = ordered[len(ordered) // 2]
    ids = prompt.ids[: len(prompt.ids) // 2] or prompt.ids * (2 if positions is None or positions > 2 + CHECKED else 1)
    return [prompt, replace(prompt, row_id=f"a part of {prompt.row_id}", ids=ids)]


def cached_answers(answerer: Answerer, batch: Sequence[Prompt]) -> Answers:
    """Answer as the engines with `generate` do: greedily, in one padded batch, with the cache that the run asks for."""
    ids, mask = padded([prompt.ids for prompt in batch], answerer.pad_id, answerer.padding_side)
    options = answerer.section.search_arguments
    cache = {name: options[name] for name in ("use_cache", "cache_implementation", "cache_config") if name in options}
    tokens = min(CHECKED, *(answerer.longest_answer(prompt) for prompt in batch))
    plain = GenerationConfig(
        **answerer.first_tokens(), **cache, max_new_tokens=tokens, do_sample=False, pad_token_id=answerer.pad_id
    )
    with answerer.own_generation_config(plain):
        output = answerer.model.generate(
            input_ids=ids.to(answerer.device),
            attention_mask=mask.to(answerer.device),
            output_logits=True,
            return_dict_in_generate=True,
            synced_gpus=answerer.synced_gpus,
        )
    logits = torch.stack(output.logits, dim=1).float()  # (B, tokens, V), as the model gave them
    chosen = output.sequences[:, -len(output.logits) :]  # (B, tokens)
    scores = logits.log_softmax(-1).gather(-1, chosen[:, :, None])[:, :, 0]
    return list(zip(chosen.tolist(), scores.tolist(), strict=True))


@torch.no_grad()
def largest_difference(model: PreTrainedModel, batch: Sequence[Prompt], answers: Answers) -> float:
    """Return by how many nats the engine's log-probability of a token differs from the plain pass's; inf for NaN."""
    found = [0.0]
    for prompt, (ids, scores) in zip(batch, answers, strict=True):
        plain = plain_logprobs(model, prompt.ids, ids).tolist()
        found += [abs(one - other) for one, other in zip(scores, plain, strict=True)]
    return max(difference if difference == difference else torch.inf for difference in found)


def check_repeated(first: Sequence[object], second: Sequence[object]) -> None:
    """Hold two computations of the same answers against each other, which `generation.deterministic` wants equal.

    Raises HeirloomError when a token or the last bit of a log-probability differs.
    """
    differing = sum(one != other for one, other in zip(first, second, strict=True))
    if differing:
        raise HeirloomError(
            f"generation.deterministic: {differing} of the first {len(first)} answers differ when they are computed "
            "once more: a kernel that torch knows nothing of adds in another order each time; choose another "
            "attn_implementation or engine, or delete the key"
        )


def tolerance(model: PreTrainedModel) -> float:
    """Return the nats by which two ways to compute a token's log-probability may differ."""
    return QUANTIZED_TOLERANCE if was_saved_quantized(model.config) else TOLERANCE.get(model.dtype, QUANTIZED_TOLERANCE)


def check_engine(
    answerer: Answerer, prompts: Sequence[Prompt], answer: Callable[[Sequence[Prompt]], Answers] | None = None
) -> bool:
    """Return whether the model answers several prompts at once as it answers each alone; if not, batches hold one.

    `answer` is the engine's own way, which says how it answers a few prompts; without it `generate` is the engine.
    Every rank calls this with the same prompts. Raises HeirloomError when the engine cannot run the model, or runs it
    to other numbers than a plain pass.
    """
    batch = two_lengths(prompts, answerer.positions)
    engine, kind = answerer.section.engine, answerer.model.config.model_type
    others = (
        "" if engine == "accelerate" else ": use engine: accelerate, or deepspeed_zero for a model that does not fit"
    )
    try:
        if answer is not None:
            answers = answer(batch)
            differs = [largest_difference(answerer.model, batch, answers)]
            if answerer.section.deterministic:
                check_repeated(answers, answer(batch))
        else:
            differs = [largest_difference(answerer.model, batch, cached_answers(answerer, batch))]
            if differs[0] > tolerance(answerer.model):  # the batch may be at fault: once more, each alone
                alone = [cached_answers(answerer, [prompt])[0] for prompt in batch]
                differs.append(largest_difference(answerer.model, batch, alone))
    except HeirloomError:
        raise
    except Exception as error:
        if is_memory(error):
            raise
        raise HeirloomError(
            f"generation.engine: {engine} cannot run this {kind} model ({first_line(error)}){others}"
        ) from error
    if differs[-1] > tolerance(answerer.model):
        remedy = others or (
            ": its cache is at fault if generation.use_cache: false helps; otherwise the model predicts no next tokens"
        )
        raise HeirloomError(
            f"generation.engine: {engine} gives other numbers for this {kind} model than the model itself does: the "
            f"log-probability of a token differs by {differs[-1]:.3g} nats, and {tolerance(answerer.model):g} are "
            f"allowed (prompt {batch[0].row_id}){remedy}"
        )
    if len(differs) > 1 and answerer.section.test_batch_size > 1:
        say(f"a {kind} model answers prompts in batches otherwise than alone: they are answered one by one")
    return len(differs) == 1
