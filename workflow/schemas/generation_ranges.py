"""Which values of GenerationConfig's keys the pinned transformers takes, found by asking: a tiny model tries each.

Ranges of numbers stand in no docstring in a form that a program could read. So a handful of values around the usual
limits is tried, and what lies between two values that are treated alike is taken to be treated like them.
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import BPE

from heirloom.config.sections.generation import OF_WHOLE_PROMPTS, SAMPLING
from heirloom.inference.logits_processors import prompt_processors, sampling_processors

NUMBERS = (-1e9, -1.0, -0.001, 0.0, 0.001, 0.5, 0.999, 1.0, 1.001, 2.0, 1e9)
INTEGERS = (-(10**9), -1, 0, 1, 2, 3, 1000)
CACHES = transformers.generation.configuration_utils.ALL_CACHE_IMPLEMENTATIONS
CHOICES = {"cache_implementation": CACHES, "early_stopping": ("never", "always", "sometimes")}
ON_GPUS = "offloaded"
"""How caches begin that the library has, and a machine without a GPU has not."""
PAIR = {"type": "array", "minItems": 2, "maxItems": 2}
IDS = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
SHAPES = {
    "bad_words_ids": {"type": ["array", "null"], "minItems": 1, "items": IDS},
    "begin_suppress_tokens": IDS | {"type": ["array", "null"]},
    "suppress_tokens": IDS | {"type": ["array", "null"]},
    "sequence_bias": {"type": ["array", "null"], "minItems": 1, "items": PAIR},
    "exponential_decay_length_penalty": {
        "type": ["array", "null"], "minItems": 2, "maxItems": 2, "items": {"type": "number"},
    },
    "stop_strings": {
        "type": ["string", "array", "null"], "minLength": 1, "minItems": 1, "items": {"type": "string", "minLength": 1},
    },
    "forced_bos_token_id": {"minimum": 0},
    "forced_eos_token_id": {"minimum": 0, "minItems": 1, "items": {"type": "integer", "minimum": 0}},
    "decoder_start_token_id": {"minimum": 0, "minItems": 1, "items": {"type": "integer", "minimum": 0}},
    "min_new_tokens": {"minimum": 0},
    "max_cache_len": {"minimum": 1},
    "num_beams": {"maximum": 1000},
    "encoder_no_repeat_ngram_size": {"maximum": 1000},
}  # fmt: skip
"""What no number tried can tell: the shape of lists, values without a meaning, and those that never come to an end."""
OF_BEAMS = ("early_stopping", "length_penalty")
VOCABULARY = 32


def tiny_model() -> transformers.PreTrainedModel:
    """Return a model that answers in milliseconds."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


@functools.cache
def tiny_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer of as many tokens, in which stop strings can be looked for."""
    vocabulary = {chr(ord("a") + token): token for token in range(VOCABULARY)}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.decoder = Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def answers(model: transformers.PreTrainedModel, key: str, value: Any) -> None:
    """Let the model answer with a key of GenerationConfig in the way in which the stage does; errors pass through."""
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    if key in SAMPLING:
        sampling_processors({key: value}, ["a", "b"])(ids, torch.zeros(2, VOCABULARY))
    elif key in OF_WHOLE_PROMPTS:
        if value == OF_WHOLE_PROMPTS[key]:
            return
        prompt_processors({key: value}, [ids[:1], ids[1:]], [0, 0], [0])(ids, torch.zeros(2, VOCABULARY))
    else:
        others = {"num_beams": 2} if key in OF_BEAMS else {}
        config = transformers.GenerationConfig(
            max_new_tokens=2, eos_token_id=[0], pad_token_id=1, **others, **{key: value}
        )
        config.validate(strict=True)
        model.generation_config = config
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), tokenizer=tiny_tokenizer())


def takes(model: transformers.PreTrainedModel, key: str, value: Any) -> bool:
    """Say whether transformers answers with this value."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            answers(model, key, value)
        except Exception:
            return False
    return True


def limits(accepted: Callable[[Any], bool], probes: tuple[float, ...]) -> dict[str, float]:
    """Return minimum or exclusiveMinimum, and maximum or exclusiveMaximum, of the accepted ones among sorted probes."""
    taken = [accepted(value) for value in probes]
    if not any(taken) or all(taken):
        return {}
    first, last = taken.index(True), len(taken) - 1 - taken[::-1].index(True)
    found: dict[str, float] = {}
    if first > 0:
        found |= {"exclusiveMinimum": 0} if probes[first - 1] == 0 and probes[first] < 1 else {"minimum": probes[first]}
    if last < len(probes) - 1:
        found |= {"exclusiveMaximum": 1} if probes[last + 1] == 1 and probes[last] < 1 else {"maximum": probes[last]}
    return found


def ranged(properties: dict[str, dict[str, Any]], left_out: Callable[[str], bool]) -> dict[str, dict[str, Any]]:
    """Return the schemas of GenerationConfig's keys with their ranges and choices; keys `left_out` stay as they are."""
    model = tiny_model()
    transformers.logging.set_verbosity_error()
    return {
        key: schema | ({} if left_out(key) else tried(model, key, schema)) | SHAPES.get(key, {})
        for key, schema in properties.items()
    }


def tried(model: transformers.PreTrainedModel, key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return what the values that transformers takes say of a key: the limits of a number, the choices of a text."""
    kinds = schema.get("type", [])
    if "number" in kinds:
        return limits(functools.partial(takes, model, key), NUMBERS)
    if "integer" in kinds and "array" not in kinds:
        return limits(functools.partial(takes, model, key), INTEGERS)
    if key in CHOICES:
        texts = [text for text in CHOICES[key] if takes(model, key, text) or text.startswith(ON_GPUS)]
        return {"enum": [*([True, False] if "boolean" in kinds else []), *sorted(texts), None]}
    return {}
