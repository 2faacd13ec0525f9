"""What the schema of GenerationConfig takes, transformers takes too: asked of transformers itself, value by value."""

import math
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "schemas"))

from generation_ranges import OF_BEAMS, SHAPES, takes, tiny_model

from heirloom.config.arguments.library_arguments import argument_problems, argument_schemas
from heirloom.config.arguments.refused_arguments import refusal
from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.config.sections.generation import SAMPLING, GenerationSection, as_the_library_wants

VALUES = (-1, 0, 1, 2, 0.5, 1e9, 10**9, math.nan, math.inf, "", "x", [], [[]], [1, 2], {}, {"x": 1}, True)
KEYS = [
    key
    for key in argument_schemas("generation_config")
    if refusal("generation", key) is None and key not in GenerationSection.model_fields
]
TAKEN_WITHOUT_A_MEANING = {*SHAPES, "use_cache", "renormalize_logits", "remove_invalid_values", "guidance_scale"}
"""Keys of which transformers takes more than can be meant."""


def problems_with(keys: dict) -> list[str]:
    """Return what the configuration says of a section `generation:`."""
    told = [problem for _, problem in argument_problems("generation", "generation_config", keys)]
    try:
        GenerationSection.model_validate(keys)
    except ValidationError as error:
        told.append(str(error))
    return told


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.mark.parametrize("key", KEYS)
def test_what_the_schema_takes_transformers_takes_too(key, model):
    around = {"do_sample": True} if key in SAMPLING else {"num_beams": 2} if key in OF_BEAMS else {}
    taken = []
    for value in VALUES:
        beyond = key.endswith("token_id") and value == 10**9  # known once there is a model: answers.check_token_ids
        if beyond or problems_with({**around, "max_new_tokens": 10**9, key: value}):
            continue
        taken.append(value)
        wanted = as_the_library_wants("generation_config", {key: value})[key]
        assert takes(model, key, wanted), f"{key}: {value!r} is refused only when the stage runs"
    known = argument_schemas("generation_config")[key]
    if key not in TAKEN_WITHOUT_A_MEANING and ("number" in known["type"] or "integer" in known["type"]):
        refused = [value for value in VALUES if type(value) in (int, float) and value not in taken and abs(value) < 10]
        for value in refused:  # and nothing is refused that would have worked
            whole = "integer" in known["type"]
            assert (whole and type(value) is float) or not takes(model, key, float(value) if not whole else value)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"num_beams": 0}, "expected at least 1, found 0"),
        ({"repetition_penalty": 0}, "expected more than 0.0, found 0"),
        ({"min_p": 2.0, "do_sample": True}, "expected at most 1.0, found 2.0"),
        ({"typical_p": 5, "do_sample": True}, "expected at most 1.0, found 5"),
        ({"epsilon_cutoff": 2.0, "do_sample": True}, "expected less than 1.0, found 2.0"),
        ({"top_h": 2.0, "do_sample": True}, "expected at most 1.0, found 2.0"),
        ({"no_repeat_ngram_size": -1}, "expected at least 0, found -1"),
        ({"length_penalty": math.nan, "num_beams": 2}, "expected a finite number, found nan"),
        ({"temperature": math.inf, "do_sample": True}, "finite number"),
        ({"stop_strings": []}, "at least 1 item"),
        ({"stop_strings": [""]}, "at least 1 character"),
        ({"bad_words_ids": [[-1]]}, "expected at least 0, found -1"),
        ({"exponential_decay_length_penalty": [1]}, "at least 2 items"),
        ({"cache_implementation": "nope"}, "expected dynamic"),
        ({"cache_implementation": "quantized"}, "expected dynamic"),
        ({"early_stopping": "sometimes", "num_beams": 2}, "never"),
        ({"early_stopping": True}, "has no effect without num_beams of at least 2"),
        ({"min_new_tokens": 100}, "is larger than max_new_tokens 64; lower it"),
        ({"forced_eos_token_id": 0, "max_length": 64}, "cannot be combined with max_length"),
        ({"eos_tokens": ","}, "names no token; give ids or strings"),
        ({"is_assistant": True}, "it speeds up batches of one only"),
        ({"prompt_lookup_num_tokens": 3}, "it speeds up batches of one only"),
        ({"token_healing": True}, "it rewrites the end of prompts"),
        (
            {"watermarking_config": {"x": 1}},
            "x is no key of transformers' WatermarkingConfig; known are bias",
        ),
        ({"compile_config": {}}, "answers are not compiled"),
        ({"learning_rate": 1.0}, "has no such key"),
    ],
    ids=str,
)
def test_each_is_told_before_anything_runs(keys, sentence):
    assert sentence in "; ".join(problems_with(keys))


def test_what_works_is_taken():
    for keys in (
        {"sequence_bias": [[[1], 2.0]], "no_repeat_ngram_size": 0, "repetition_penalty": 2},
        {"stop_strings": "ring", "suppress_tokens": [3], "forced_eos_token_id": [0]},
        {"num_beams": 2, "early_stopping": "never", "length_penalty": -1, "cache_implementation": "static"},
        {"do_sample": True, "min_p": 0, "typical_p": 1, "eta_cutoff": 0.001, "top_h": 0.4},
    ):
        assert problems_with(keys) == []


@pytest.mark.parametrize("value", [-1, 0, math.nan, math.inf, "", [], "x"])
@pytest.mark.parametrize("key", ["batch_size", "beta"])
def test_values_of_evaluation(key, value):
    with pytest.raises(ValidationError):
        EvaluationSection.model_validate({"metrics": ["preference"], key: value})
