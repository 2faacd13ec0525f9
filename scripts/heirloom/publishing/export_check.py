"""Is an export the model that was trained? It is read again as its users will, and compared with the checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from heirloom.errors import HeirloomError, plain
from heirloom.json_files import read_json
from heirloom.models.remote_code import loading, loading_from
from heirloom.models.tokenizer_files import SAMPLES, first_difference
from heirloom.models.trained_checkpoints import GENERATION
from heirloom.publishing.model_behaviour import Held, Measured, measure_export

TALK = [{"role": "user", "content": "Hello, who are you?"}]
"""A conversation that every chat template can show."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from its checkpoint."""

    nats: float
    """Most difference of the mean negative log-likelihood a token."""
    answers: int
    """Most answers that may differ: in 16 bits the two likeliest tokens can be as good as equal."""


TOLERANCES = {"float32": Tolerance(1e-5, 0), "bfloat16": Tolerance(2e-3, 1), "float16": Tolerance(5e-4, 1)}
"""By the precision of the weights. One machine computes both, so of a right export nothing but rounding differs."""


@dataclass(frozen=True)
class Original:
    """A checkpoint that exports are compared with: what it did and how it was asked; the model itself is let go."""

    run: str
    held: Held
    measured: Measured
    tokenizer: PreTrainedTokenizerFast
    end_ids: tuple[int, ...]
    """Tokens that end an answer of the run."""
    pad_id: int
    attention: str | None
    device: torch.device

    @property
    def tolerance(self) -> Tolerance:
        """How far an export may be from it."""
        return TOLERANCES.get(self.measured.dtype, TOLERANCES["float32"])


def check_export(folder: Path, place: str, original: Original, weights: str | None) -> dict[str, Any]:
    """Return what was found of the export in `folder` as JSON, for the file beside it and for reports.

    `place`: what it is called there. `weights`: the `weights_hash` that it must have, None where merging makes others.
    "passed" says whether it may be used; else "problems" say what was found and what was expected.
    """
    expected, tolerance = original.measured, original.tolerance
    try:
        problems = list(differences_beside_weights(folder, original))
        found = measure_export(folder, original.held, original.device, original.attention)
        problems += differences(found, original, weights)
    except HeirloomError as error:  # files that cannot be read are no export
        found, problems = None, [str(error).replace(str(folder), place)]
    return {
        "run": original.run,
        "place": place,
        "checkpoint": expected.weights,
        "weights": found and found.weights,
        "dtype": expected.dtype,
        "dataset": original.held.dataset,
        "tokens": expected.tokens,
        "perplexity": {"checkpoint": expected.perplexity, "export": found and found.perplexity},
        "nats_apart": found and abs(found.nats - expected.nats),
        "nats_allowed": tolerance.nats,
        "answers": len(expected.answers),
        "answers_differing": found and differing_answers(found, expected),
        "answers_allowed": tolerance.answers,
        "passed": not problems,
        "problems": [plain(problem) for problem in problems],
    }


def differences(found: Measured, original: Original, weights: str | None) -> Iterator[str]:
    """Yield in words how an export's model differs from the checkpoint's by more than the tolerance."""
    expected, tolerance = original.measured, original.tolerance
    if weights is not None and found.weights != weights:
        yield f"its weights have the hash {found.weights}, and were to have {weights}"
    if found.dtype != expected.dtype:
        yield f"its weights are {found.dtype}, and the checkpoint's are {expected.dtype}"
    apart = abs(found.nats - expected.nats)
    if not apart <= tolerance.nats:  # what is no number differs too
        yield (
            f"its perplexity on {original.held.dataset} is {found.perplexity:.6g}, and the checkpoint's is "
            f"{expected.perplexity:.6g} ({apart:.3g} nats a token apart, {tolerance.nats:g} allowed)"
        )
    if (differing := differing_answers(found, expected)) > tolerance.answers:
        yield f"{differing} of {len(expected.answers)} greedy answers differ ({tolerance.answers} allowed)"


def differing_answers(found: Measured, expected: Measured) -> int:
    """Return how many answers are not the same tokens."""
    return sum(one != other for one, other in zip(found.answers, expected.answers, strict=True))


def differences_beside_weights(folder: Path, original: Original) -> Iterator[str]:
    """Yield in words how an export's tokenizer, chat template and end tokens are not those of its run."""
    own, own_ends = original.tokenizer, list(original.end_ids)
    with loading_from(folder):
        read = AutoTokenizer.from_pretrained(folder, **loading())
    texts = [*SAMPLES, *(prompt.text for prompt in original.held.prompts if prompt.text)]
    if difference := first_difference(read, own, texts):
        yield f"its tokenizer is another, {difference}"
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(read, name) != getattr(own, name):
            yield f"its tokenizer's {name} is {getattr(read, name)}, and the checkpoint's is {getattr(own, name)}"
    if shown(read) != shown(own):
        found = "is missing" if read.chat_template is None else "shows a conversation otherwise than the checkpoint's"
        yield f"its chat template {found}"
    ends = read_json(folder / GENERATION).get("eos_token_id")
    if (ends if isinstance(ends, list) else [ends]) != own_ends:
        yield f"its answers end at the tokens {ends}, and the run's at {own_ends}"


def shown(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Return a conversation as the chat template shows it; None without one, the reason where it refuses this one."""
    if tokenizer.chat_template is None:
        return None
    try:
        return tokenizer.apply_chat_template(TALK, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program of anybody's
        return f"refused: {error}"
