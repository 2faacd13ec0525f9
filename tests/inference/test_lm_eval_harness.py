"""The lm-evaluation-harness on tasks of the project: its scores by hand, and what is refused."""

import importlib.util
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.harness.tasks import load_tasks

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
CHOICES = """\
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

SAYS = """\
task: says
dataset_path: json
dataset_kwargs: {data_files: {test: tasks/finds.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: DRAWN, temperature: TEMPERATURE}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
PERPLEXITY = """\
task: reads
dataset_path: json
dataset_kwargs: {data_files: {test: tasks/finds.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
"""


@pytest.fixture(scope="module")
def tasks(place):
    """A folder with tasks of every kind of request and their data."""
    folder = place.folder / "tasks"
    folder.mkdir()
    (folder / "finds.yaml").write_text(CHOICES)
    (folder / "says.yaml").write_text(SAYS.replace("DRAWN", "false").replace("TEMPERATURE", "0.0"))
    drawn = SAYS.replace("DRAWN", "true").replace("TEMPERATURE", "1.0")
    (folder / "draws.yaml").write_text(f"{drawn.replace('task: says', 'task: draws')}repeats: 3\n")
    (folder / "reads.yaml").write_text(PERPLEXITY)
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


def command(place, section: dict, name: str = "harness", checkpoint: str = "model") -> tuple:
    config = place.config(name, lm_eval=section)
    results = ("--output", place.folder / f"samples/{name}", "--metrics", place.folder / f"{name}.json")
    inputs = ("--sections", "lm_eval", "--checkpoint", checkpoint, *results)
    return ("lm_eval_harness.py", "--config", config, *inputs)


def samples(place, name: str, task: str) -> list[dict]:
    return [json.loads(line) for line in (place.folder / f"samples/{name}/{task}.jsonl").read_text().splitlines()]


def numbers(rows: list[dict]) -> list[float]:
    return [resp[0][0] for row in rows for resp in row["resps"]]


ALL = ["finds", "says", "draws", "reads"]


@installed
def test_its_accuracy_is_that_computed_by_hand_whatever_the_batches_and_ranks(place, tasks):
    for name, batch, ranks in (("one", 4, 1), ("two", 3, 2)):
        section = {"include_path": "tasks", "tasks": ALL, "batch_size": batch}
        place.run(*command(place, section, name), ranks=ranks)
    scores = {name: json.loads((place.folder / f"{name}.json").read_text()) for name in ("one", "two")}
    perplexities = [found.pop("reads")["word_perplexity"] for found in scores.values()]
    assert scores["one"] == scores["two"]
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-4)  # sums in another order
    texts = [[row["resps"] for task in ("says", "draws") for row in samples(place, name, task)] for name in scores]
    assert texts[0] == texts[1] and len({text for row in texts[0] for resp in row for text in resp}) > 6
    one, two = (numbers(samples(place, name, "finds")) for name in ("one", "two"))
    assert one == pytest.approx(two, abs=1e-4)
    scores = scores["one"]["finds"]
    right = [likeliest(place, row) == row["answer"] for row in ROWS]
    assert scores["acc"] == pytest.approx(sum(right) / len(right))
    assert scores["sample_len"] == len(ROWS)
    assert scores["acc_stderr"] > 0


@installed
def test_an_adapter_is_scored_as_the_model_that_it_makes_of_its_base(place, tasks):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(place.folder / "model")
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.peft_config["default"].base_model_name_or_path = "model"
    tuned.save_pretrained(place.folder / "adapter")
    tuned.merge_and_unload().save_pretrained(place.folder / "merged")
    for folder in ("adapter", "merged"):
        AutoTokenizer.from_pretrained(place.folder / "model").save_pretrained(place.folder / folder)
        section = {"include_path": "tasks", "tasks": ["finds", "says"], "batch_size": 4}
        place.run(*command(place, section, f"of-{folder}", folder))
    alone, whole = (numbers(samples(place, f"of-{folder}", "finds")) for folder in ("adapter", "merged"))
    assert alone == pytest.approx(whole, abs=1e-4)
    untouched = numbers(samples(place, "one", "finds"))
    assert alone != pytest.approx(untouched, abs=1e-2)
    said = [[row["resps"] for row in samples(place, f"of-{folder}", "says")] for folder in ("adapter", "merged")]
    assert said[0] == said[1]


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
    (tmp_path / "tasks/finds.yaml").write_text(CHOICES.replace(old, new))
    with pytest.raises(HeirloomError, match=message):
        load_tasks(LmEvalSection(include_path="tasks", tasks=["finds"]))


def test_without_the_harness_it_says_how_to_install_it(place, tasks, tmp_path, monkeypatch):
    (tmp_path / "lm_eval.py").write_text("raise ModuleNotFoundError('No module named lm_eval', name='lm_eval')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = place.run(*command(place, {"include_path": "tasks", "tasks": ["finds"]}), check=False)
    assert done.returncode == 1
    assert "the lm-evaluation-harness is not installed" in done.stderr and "`make setup-harness`" in done.stderr
    assert "Traceback" not in done.stderr
