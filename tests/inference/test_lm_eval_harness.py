"""The lm-evaluation-harness on tasks of the project: its scores by hand, and what is refused."""

import importlib.util
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.harness_tasks import load_tasks

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="`make setup-harness` installs the lm-evaluation-harness"
)
ROWS = [
    {
        "question": f"{name} found a {thing}. What did {name} find?",
        "choices": [" A kite.", " A red boat.", " Nothing at all."],
        "answer": index % 3,
    }
    for index, (name, thing) in enumerate((name, thing) for name in ("Ada", "Bo", "Cleo") for thing in ("kite", "boat"))
]
TASK = """\
task: finds
dataset_path: json
dataset_kwargs: {data_files: {test: tasks/finds.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(scope="module")
def tasks(place):
    """A folder with one task and its data."""
    folder = place.folder / "tasks"
    folder.mkdir()
    (folder / "finds.yaml").write_text(TASK)
    (folder / "finds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def likeliest(place, row: dict) -> int:
    """Return which choice has the highest log-probability after the question, computed on the texts by hand."""
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    start = len(tokenizer(row["question"])["input_ids"])
    sums = []
    for choice in row["choices"]:
        ids = tokenizer(row["question"] + choice)["input_ids"]
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        sums.append(sum(logps[position - 1, ids[position]].item() for position in range(start, len(ids))))
    return max(range(3), key=sums.__getitem__)


def command(place, section: dict, name: str = "harness") -> tuple:
    config = place.config(name, lm_eval=section)
    inputs = ("--sections", "lm_eval", "--checkpoint", "model", "--metrics", place.folder / f"{name}.json")
    return ("lm_eval_harness.py", "--config", config, *inputs)


@installed
def test_its_accuracy_is_that_computed_by_hand_and_the_same_each_time(place, tasks):
    for name in ("once", "again"):
        place.run(*command(place, {"include_path": "tasks", "tasks": ["finds"], "batch_size": 4}, name))
    assert (place.folder / "once.json").read_bytes() == (place.folder / "again.json").read_bytes()
    scores = json.loads((place.folder / "once.json").read_text())["finds"]
    right = [likeliest(place, row) == row["answer"] for row in ROWS]
    assert scores["acc"] == pytest.approx(sum(right) / len(right))
    assert scores["sample_len"] == len(ROWS)
    assert scores["acc_stderr"] > 0


@installed
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("task: finds", "task: loses", "there is no task finds in .*, which holds loses"),
        ("tasks/finds.jsonl", "elsewhere/finds.jsonl", "finds reads json .*, and an edit there would not be noticed"),
        ("dataset_path: json", "dataset_path: owner/name", "finds reads owner/name"),
    ],
)
def test_only_tasks_whose_data_lie_in_their_folder_are_scored(place, tasks, tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(tmp_path)
    for folder in ("tasks", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "finds.jsonl").write_bytes((tasks / "finds.jsonl").read_bytes())
    (tmp_path / "tasks/finds.yaml").write_text(TASK.replace(old, new))
    with pytest.raises(HeirloomError, match=message):
        load_tasks(LmEvalSection(include_path="tasks", tasks=["finds"]))


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="the harness is installed here")
def test_without_the_harness_it_says_how_to_install_it(place, tasks):
    done = place.run(*command(place, {"include_path": "tasks", "tasks": ["finds"]}), check=False)
    assert done.returncode == 1
    assert "the lm-evaluation-harness is not installed" in done.stderr and "`make setup-harness`" in done.stderr
    assert "Traceback" not in done.stderr
