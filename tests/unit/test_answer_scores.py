"""Each metric of answers against values by hand, or against the library that defines it."""

from itertools import product
from typing import Any

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from heirloom.config.sections.evaluation import ANSWER_METRICS, EvaluationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_metrics import exact_match, pattern_matches, token_counts
from heirloom.evaluation.answer_scores import score_answers
from heirloom.evaluation.bleu_and_chrf import bleu, chrf
from heirloom.evaluation.intervals import resampled, resamples
from heirloom.evaluation.numeric_match import numeric_matches
from heirloom.evaluation.repetition import distinct, ends_in_loop, repeated_trigrams
from heirloom.evaluation.rouge import rouge_f1
from heirloom.inference.generation_files import read_generations

ROWS = [
    {"row_id": "t:1", "completion": "Gladly! It is 7.", "reference": "It is 7.", "finish_reason": "stop"},
    {"row_id": "t:2", "completion": "8.", "reference": "It is 7.", "finish_reason": "stop"},
    {"row_id": "t:3", "completion": "who knows", "reference": "It is 7.", "finish_reason": "length"},
    {"row_id": "t:4", "completion": " It is 7.\n", "reference": "It is 7.", "finish_reason": "stop"},
]
ROWS = [row | {"prompt_tokens": 10 + index, "completion_tokens": index} for index, row in enumerate(ROWS)]
ENGLISH = [
    (
        "The cat sat on the mat, and the dog slept near the door.",
        "The cat sat on a mat while the dog slept by the door.",
    ),
    ("A red boat was found.", "On Tuesday, a red boat was found at the old mill."),
    ("It's 3.5 km to the barn; the rest is up-hill all the way.", "It is 3.5 km to the barn, and up-hill all the way."),
    ("", "Nobody answered."),
]


def rows_of(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return rows with what texts need."""
    return [
        {"row_id": f"t:{index}", "completion": completion, "reference": reference}
        for index, (completion, reference) in enumerate(pairs)
    ]


def section(**keys) -> EvaluationSection:
    return EvaluationSection.model_validate(keys)


# ---- one metric after the other ----


def test_exact_match_patterns_and_token_counts_by_hand():
    assert exact_match(ROWS, None) == {"exact_match": 0.25, "answer_found": 1.0}
    assert exact_match(ROWS, r"(\d+)\.") == {"exact_match": 0.5, "answer_found": 0.75}
    found = pattern_matches(ROWS, {"polite": "^Gladly!", "dot": r"\.$"})
    assert found == {"polite": [True, False, False, False], "dot": [True, True, False, True]}
    assert token_counts(ROWS) == {
        "prompt": {"total": 46, "mean": 11.5, "largest": 13},
        "completion": {"total": 6, "mean": 1.5, "largest": 3},
        "finished": 0.75,
    }


def test_a_pattern_that_finds_no_reference_answer_is_an_error():
    with pytest.raises(HeirloomError, match=r"finds no answer in 4 of 4 references, first in t:1"):
        exact_match(ROWS, "answer: (.*)")


@pytest.mark.parametrize(
    ("completion", "reference", "equal"),
    [
        ("3 apples and 4 pears make 7.", "#### 7", True),
        ("7 apples, of which 4 are red", "#### 7", False),
        ("$1,250.00", "1250", True),
        ("1.250", "1250", False),
        ("about -3", "−3", True),
        ("pages 10-12", "12", True),
        ("6.02e23", "602000000000000000000000", True),
        (".5", "0.50", True),
        ("no idea", "5", False),
        ("12,34", "34", False),  # not grouped in threes: a list, or decimals elsewhere
        ("3/4", "1/4", False),
        ("3/4", "0.75", True),
        ("six is 6/8", "3/4", True),
        ("2 1/2 cups", "2.5", True),
        ("1½", "3/2", True),
        (r"\frac{1}{2}", r"\frac{3}{2}", False),
        (r"$\dfrac{1}{2}$", "0.5", True),
        (r"\frac12", "1/2", True),
        (r"-\frac{3}{4}", "-0.75", True),
        (r"\frac{\sqrt{3}}{2}", "2", False),
        (r"\frac{1}{x}", "1", False),
        (r"\boxed{8{,}000}", r"\boxed{5{,}000}", False),
        (r"\boxed{8{,}000}", "8000", True),
        ("10 000", "1 000", False),
        ("10\u202f000", "1\u202f000", False),
        ("10\u202f000 km", "10,000", True),
        ("1'000", "2'000", False),
        ("1’000.5", "1000.5", True),
        ("in 2020 300 people", "300", True),
        ("-$5", "-5", True),
        ("–5", "-5", True),
        ("$-5", "-5", True),
        ("it is 5 – 7 today", "7", True),
        ("10²", "100", True),
        ("10^2", "100", True),
        ("2^{10}", "1024", True),
        ("x^2", "2", False),
        (r"3\times10^8", "300000000", True),
        ("3 × 10⁸ m", "3e8", True),
        (r"\sqrt{2}", "2", False),
        ("2π", "2", False),
        ("11:30", "30", False),
        ("9.999.567", ".567", False),
        ("on 2024-01-15", "15", False),
        ("٣٫", "3", True),
        ("3/0", "0", False),
        ("10^99999", "0", False),
        ("9" * 5000, "9", False),
    ],
)
def test_numeric_match_compares_the_last_numbers(completion, reference, equal):
    assert numeric_matches(rows_of([(completion, reference)])) == [equal]


def test_a_reference_without_a_number_is_an_error():
    with pytest.raises(
        HeirloomError,
        match=r"finds no number that it can read at the end of 1 of 2 references, first in t:1 \('seven'\)",
    ):
        numeric_matches(rows_of([("7", "7"), ("7", "seven")]))
    for unread in ("x^2", "12:30", r"\frac{\pi}{2}", "1.2.3", "3,5", r"2\sqrt{5}"):
        with pytest.raises(HeirloomError, match="numeric_match finds no number that it can read"):
            numeric_matches(rows_of([("2", unread)]))


def test_rouge_is_that_of_its_library_and_reads_all_scripts():
    upstream = RougeScorer(["rouge1", "rouge2", "rougeL"])
    expected = [upstream.score(reference, completion) for completion, reference in ENGLISH]
    found = rouge_f1(rows_of(ENGLISH))
    for name, values in found.items():
        assert values == [score[name].fmeasure for score in expected]
    assert 0 < found["rouge2"][0] < found["rouge1"][0] < 1
    # by hand: 2 of 3 words of each side are the other's, in order; one of two bigrams
    cyrillic = rouge_f1(rows_of([("Кошка спит дома", "Кошка спит здесь")]))
    assert {name: values[0] for name, values in cyrillic.items()} == pytest.approx(
        {"rouge1": 2 / 3, "rouge2": 1 / 2, "rougeL": 2 / 3}
    )


@pytest.mark.parametrize(
    ("completion", "reference", "rouge1"),
    [
        ("की", "के", 0),  # other words: their vowels are marks
        ("मेरा नाम", "मेरी नमी", 0),
        ("मेरा नाम", "नाम मेरा", 1),
        ("café", "cafe\u0301", 1),
        ("İstanbul", "i\u0307stanbul", 1),
        ("今天天气很好", "今天天气不好", 5 / 6),
        ("ラーメンが好き", "ラーメンは好き", 6 / 7),
        ("สวัสดี", "สวัสดิ", 3 / 4),  # ส วั ส ดี: consonants with their vowels
        ("می\u200cخواهم", "می\u200cروم", 0),
        ("안녕 친구", "안녕 하세요", 1 / 2),
        ("snake_case", "snake", 2 / 3),  # as the library reads ASCII
    ],
)
def test_words_of_every_script(completion, reference, rouge1):
    assert rouge_f1(rows_of([(completion, reference)]))["rouge1"] == pytest.approx([rouge1])


def test_accents_may_be_encoded_either_way():
    rows = rows_of([("Un cafe\u0301.", "Un café.")])
    assert exact_match(rows, None)["exact_match"] == exact_match(rows, "(caf\u00e9)")["answer_found"] == 1.0
    assert pattern_matches(rows, {"coffee": "caf\u00e9"}) == {"coffee": [True]}
    assert distinct(rows_of([("café cafe\u0301", "")]), 1) == 1 / 2


def test_bleu_and_chrf_are_those_of_sacrebleu_over_the_corpus():
    completions, references = ([pair[side] for pair in ENGLISH] for side in (0, 1))
    assert bleu(rows_of(ENGLISH)).value == pytest.approx(sacrebleu.corpus_bleu(completions, [references]).score)
    assert chrf(rows_of(ENGLISH)) == pytest.approx(sacrebleu.corpus_chrf(completions, [references]).score)
    assert bleu(rows_of([("kite", "boat")])).value == 0.0


def test_a_draw_of_bleu_is_bleu_of_the_rows_drawn():
    draws = resampled({"bleu": bleu(rows_of(ENGLISH))})["bleu"]
    for score, draw in list(zip(draws, resamples(len(ENGLISH)), strict=True))[:20]:
        completions, references = ([ENGLISH[index][side] for index in draw] for side in (0, 1))
        assert score == pytest.approx(sacrebleu.corpus_bleu(completions, [references]).score)


def test_repetition_and_distinct_by_hand():
    assert repeated_trigrams("a b c a b c") == 1 - 3 / 4  # abc bca cab abc
    assert (repeated_trigrams("a b"), repeated_trigrams("")) == (0.0, 0.0)
    looping = ["so so so", "I went to a b to a b to a b", "x x y x x y x x y"]
    assert [ends_in_loop(text) for text in looping] == [True, True, True]
    assert [ends_in_loop(text) for text in ("so so", "a b a b a", "a a a b", "")] == [False] * 4
    assert ends_in_loop("好好好") and repeated_trigrams("今天今天今天") == 1 - 2 / 4
    rows = rows_of([("a b a", ""), ("a b", ""), ("", "")])
    assert distinct(rows, 1) == 2 / 5  # a, b
    assert distinct(rows, 2) == 2 / 5  # ab, ba
    assert distinct(rows_of([("", "")]), 1) == 0.0


@pytest.mark.parametrize("metric", ["exact_match", "numeric_match", "math_verify", "rouge", "bleu", "chrf"])
def test_prompts_of_a_file_without_references_are_told(metric):
    rows = [*ROWS, ROWS[0] | {"row_id": "file:9", "reference": None}]
    with pytest.raises(HeirloomError, match=f"^{metric}: 1 of 5 prompts have no reference, first file:9: give"):
        score_answers(section(metrics=[metric]), rows)


# ---- together ----


def test_all_metrics_stand_where_readers_look_for_them():
    apart = ("reward", "math_verify")  # tests/inference/test_reward_models.py, tests/unit/test_math_answers.py
    metrics = [name for name in ANSWER_METRICS if name not in apart]
    asked = section(metrics=metrics, answer_pattern=r"(\d+)\.", patterns={"polite": "^Gladly!"})
    scores = score_answers(asked, ROWS)
    nested = scores.nested()
    assert nested.keys() == {"answers", "answer_found", *metrics}
    assert (nested["answers"], nested["exact_match"], nested["patterns"]) == (4, 0.5, {"polite": 0.25})
    assert nested["rouge"].keys() == {"rouge1", "rouge2", "rougeL"}
    assert nested["repetition"].keys() == {"repeated_3grams", "loops"}
    assert nested["distinct"].keys() == {"distinct_1", "distinct_2"}
    without_interval = {keys[0] for keys in scores.others}
    assert without_interval == {"answers", "chrf", "distinct", "token_counts"}


def test_several_samples_of_a_prompt_count_as_one_prompt_in_the_interval():
    rows = [row | {"sample": sample} for row, sample in product(ROWS, range(3))]
    scores = score_answers(section(metrics=["exact_match"]), rows)
    statistic = scores.statistics[("exact_match",)]
    assert (scores.nested()["answers"], statistic.value, len(statistic.sums)) == (12, 0.25, 4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("generations.jsonl", b'{"row_id": 1}\n{"row_id"', "line 2: is no JSON ("),
        ("generations.jsonl", b"\xff\xfe", "line 1: is no JSON ('utf-8' codec can't decode"),
        ("generations.jsonl", b"[1]\n", "line 1: is no JSON object"),
        ("generations.jsonl", b"\n", "holds no answers to score"),
        ("generations.parquet", b"PAR1 and nothing", "cannot be read ("),
    ],
)
def test_answers_that_are_damaged_are_told_with_their_file(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HeirloomError) as caught:
        read_generations(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name)) and said in str(caught.value)
