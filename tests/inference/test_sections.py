"""What the sections `generation:` and `evaluation:` refuse, and how they hand on the keys of transformers."""

import pytest
from pydantic import ValidationError

from heirloom.config.sections.evaluation import EvaluationSection
from heirloom.config.sections.generation import GenerationSection


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        (GenerationSection, {"temperature": 0.7}, "temperature: has no effect without do_sample: true"),
        (GenerationSection, {"min_p": 0.1}, "min_p: has no effect without do_sample: true"),
        (GenerationSection, {"seed": 3}, "seed: has no effect without do_sample: true"),
        (GenerationSection, {"do_sample": True, "num_beams": 4}, "num_beams: cannot be combined with do_sample"),
        (EvaluationSection, {"metrics": ["exact_match"], "answer_pattern": "a"}, "answer_pattern: needs a group"),
        (
            EvaluationSection,
            {"metrics": ["exact_match"], "answer_pattern": "(a"},
            "is no regular expression: missing )",
        ),
        (EvaluationSection, {"metrics": ["perplexity"], "answer_pattern": "(a)"}, "no effect without exact_match"),
        (EvaluationSection, {"metrics": ["patterns"]}, "patterns: is missing"),
        (EvaluationSection, {"metrics": ["patterns"], "patterns": {"x": "["}}, "patterns: x is no regular expression"),
        (EvaluationSection, {"metrics": ["perplexity"], "patterns": {"x": "a"}}, "no effect without patterns"),
    ],
)
def test_keys_without_effect_or_sense_are_refused(section, keys, message):
    with pytest.raises(ValidationError) as error:
        section.model_validate(keys)
    assert message in str(error.value)


def test_sampling_and_search_keys_are_told_apart():
    section = GenerationSection(do_sample=True, top_p=0.9, min_p=0.1, repetition_penalty=1.2, max_new_tokens=7)
    assert section.sampling_arguments == {"temperature": 1.0, "top_k": 50, "top_p": 0.9, "min_p": 0.1}
    assert section.search_arguments == {"max_new_tokens": 7, "repetition_penalty": 1.2}


def test_metrics_say_what_they_read():
    assert EvaluationSection(metrics=["perplexity"]).reads_checkpoint
    assert not EvaluationSection(metrics=["perplexity"]).reads_generations
    section = EvaluationSection(metrics=["patterns"], patterns={"x": "a"})
    assert section.reads_generations
    assert not section.reads_checkpoint
