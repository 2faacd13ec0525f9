"""What answers are worth, by hand; and which rewards are not trained on."""

import pytest

from heirloom.config.sections.training import Reward
from heirloom.errors import HeirloomError
from heirloom.training.callbacks.completion_history import DRAWINGS, CompletionHistory
from heirloom.training.rewards.functions import rewards_of
from heirloom.training.rewards.trial import try_rewards

ROWS = [
    {"row": number, "prompt": f"{number} and 1?", "reference": f"It is\nAnswer: {number + 1}", "reference_tokens": 4}
    for number in range(5)
]
PATTERN = "Answer: (.*)"


def answer(completion, reference="Answer: 3", tokens=2):
    return {"prompt": "?", "completion": completion, "reference": reference, "completion_tokens": tokens}


def parts(rows, *rewards, longest=8):
    return rewards_of([Reward.model_validate(reward) for reward in rewards], longest).parts(rows)


def test_each_part_is_what_its_function_says():
    rows = [
        answer("So: Answer: 3 "),
        answer("Answer: 4", tokens=8),
        answer("it is 3.0", tokens=4),
        answer("", tokens=0),
    ]
    exact = {"function": "exact_match", "answer_pattern": PATTERN}
    form = {"function": "format", "pattern": "^Answer"}
    found = parts(rows, exact, {"function": "numeric_match"}, form, {"function": "length", "weight": -0.5})
    assert found == [[1, 1, 0, 0.25], [0, 0, 1, 1], [0, 1, 0, 0.5], [0, 0, 0, 0]]
    rewards = rewards_of([Reward(**exact), Reward(function="length", weight=-0.5)], 8)
    assert [rewards.total([exact, length]) for exact, *_, length in found] == [0.875, -0.5, -0.25, 0]


def tried(*rewards, rows=ROWS):
    return try_rewards(rewards_of([Reward.model_validate(reward) for reward in rewards], 8), rows).said


def test_rewards_that_tell_right_from_wrong_are_taken():
    said = tried({"function": "exact_match", "answer_pattern": PATTERN}, {"function": "length", "weight": -0.1})
    assert said == "rewards, tried on 5 prompts, are on average: references 0.95, wrong answers -0.05, empty answers 0"


@pytest.mark.parametrize(
    ("rewards", "rows", "words"),
    [
        ([{"function": "exact_match", "answer_pattern": "Result: (.*)"}], ROWS, "give every answer 0, so nothing"),
        ([{"function": "format", "pattern": "^"}], ROWS, "give every answer 1, so nothing"),
        ([{"function": "length", "weight": -1}], ROWS, "give no reference more than 0"),
        (
            [{"function": "numeric_match"}, {"function": "format", "pattern": "^$", "weight": 2}],
            ROWS,
            "give an empty answer 2, and half of the references 1 or less",
        ),
    ],
)
def test_rewards_that_teach_nothing_or_silence_are_refused_with_rows(rewards, rows, words):
    with pytest.raises(HeirloomError) as refused:
        tried(*rewards, rows=rows)
    assert words in str(refused.value)
    assert "reference 'It is\\nAnswer: 1' to …'0 and 1?'" in str(refused.value)
    assert "empty '' to" in str(refused.value)


def test_a_function_of_the_users_is_called_with_rows_and_its_mistakes_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_rewards.py").write_text(
        "def words(rows):\n    return [len(row['completion'].split()) for row in rows]\n"
        "def fails(rows):\n    return [1 / len(row['completion']) for row in rows]\n"
        "def short(rows):\n    return [1.0]\n"
        "def none(rows):\n    return [None for row in rows]\n"
    )
    assert parts([answer("a b c")], {"function": "my_own_rewards:words"}) == [[3.0]]
    for name, words in (
        ("fails", "training.rewards[0].function my_own_rewards:fails: failed: ZeroDivisionError"),
        ("short", "returned a list of 1 for 5 rows; expected a list with a number for each"),
        ("none", "returned None for the answer 'It is\\nAnswer: 1' to '0 and 1?'; expected a finite number"),
    ):
        with pytest.raises(HeirloomError) as refused:
            tried({"function": f"my_own_rewards:{name}"})
        assert words in str(refused.value)


@pytest.mark.parametrize("uses", [1, 3])
@pytest.mark.parametrize("last", [1, 4, 50, 51, 1000, 12_345])
def test_answers_are_kept_of_the_first_batch_the_last_and_some_between(last, uses):
    drawn = range(0, last, uses)
    kept = [step for step in drawn if CompletionHistory().is_due(step, last, uses)]
    assert (kept[0], kept[-1]) == (drawn[0], drawn[-1])
    assert min(len(drawn), DRAWINGS / 2) <= len(kept) <= DRAWINGS


def test_answers_are_taken_up_from_a_checkpoint_as_they_were(tmp_path, capsys):
    history, other = CompletionHistory(), CompletionHistory()
    other.load(tmp_path)
    assert other.rows == [] and "has no answers to look at" in capsys.readouterr().out  # of an earlier version
    history.rows = [{"step": 1, "completion": "one\u2028line\n", "reward": 0.5}, {"step": 2, "completion": "\x85"}]
    history.save(tmp_path)
    other.load(tmp_path)
    assert other.rows == history.rows
