"""Which sections of a run's file are part of the identity of its training."""

import subprocess

import pytest

from pipeline.graph.graph import build_graph
from pipeline.ledger.sharing import only_here

RUN = """\
base: tiny
dataset: chats
trainer: seq2seq
training: {global_batch_size: 16, predict_with_generate: PREDICT}
generation: {max_new_tokens: 16}
"""


@pytest.mark.parametrize(("predict", "sections"), [("true", ("training", "generation")), ("false", ("training",))])
def test_generation_is_part_of_a_training_that_answers_prompts_only(workplace, predict, sections):
    workplace.write("config/runs/translate.yaml", RUN.replace("PREDICT", predict))
    stage = build_graph(workplace.load()).stages["train-translate"]
    assert stage.params == {"config/runs/translate.yaml": sections}
    assert f"--sections {','.join(sections)} " in stage.cmd
    assert {"scripts/seq2seq_train.py", "scripts/heirloom/config/sections/generation.py"} <= set(stage.code)


def test_an_edit_of_generation_makes_no_other_training_stale(workplace):
    graph = build_graph(workplace.load())
    answering = {"scripts/heirloom/config/sections/generation.py", "scripts/heirloom/inference/answers.py"}
    for run in ("pretrain", "sft", "dpo"):
        files = graph.stages[f"train-{run}"].code
        assert not answering & set(files)


CHAIN = {
    "first": "base: odd\ndataset: rows\ntrainer: sft\ntraining: {global_batch_size: 16, attn_implementation: eager}\n",
    "second": "base: first\ndataset: rows\ntrainer: sft\ntraining: {global_batch_size: 16, attn_implementation: sdpa}\n"
    "generation: {max_new_tokens: 4}\nevaluation: {metrics: [perplexity, token_counts], base: true}\n",
    "third": "base: first\ndataset: rows\ngeneration: {attn_implementation: sdpa}\n"
    "evaluation: {metrics: [perplexity]}\n",
}
SCORED = "base: odd\ndataset: rows\ntrust_remote_code: true\nevaluation: {metrics: [perplexity]}\n"


def commands(workplace, **runs: str) -> dict[str, str]:
    """Return the commands of all stages that stand on the model `odd`."""
    workplace.write("config/models/odd.yaml", "source: {hub: owner/odd, revision: " + "a" * 40 + "}\n")
    rows = "tokenizer: odd\nsource: {generator: demo, part: chats, rows: 9}\n"
    rows += "processing: {processing_function: dummy_processing_function, max_length: 64}\n"
    workplace.write("config/datasets/rows.yaml", rows)
    for name, text in runs.items():
        workplace.write(f"config/runs/{name}.yaml", text)
    names = {*runs, "odd", "rows"}
    stages = build_graph(workplace.load()).stages
    return {name: stage.cmd for name, stage in stages.items() if {stage.subject, stage.run} & names}


@pytest.mark.parametrize("key", ["trust_remote_code: true\n", "training: {trust_remote_code: true, "])
def test_one_decision_holds_for_all_that_loads_a_model(workplace, key):
    said = CHAIN["first"].replace("training: {", key) if "training" in key else CHAIN["first"] + key
    for name, command in commands(workplace, **CHAIN | {"first": said}).items():
        loads = not name.startswith(("download", "report", "evaluate-third"))  # it has its scores from its base's
        assert ("--trust_remote_code true" in command) == loads, command
    assert not any("trust_remote_code" in command for command in commands(workplace, **CHAIN).values())


def test_a_run_that_only_scores_decides_too(workplace):
    made = commands(workplace, scored=SCORED)
    assert made.keys() >= {"tokenizer-odd", "model-odd", "process-rows", "evaluate-scored"}
    told = ("download", "report", "evaluate")
    assert all("--trust_remote_code true" in made[name] for name in made if not name.startswith(told))
    assert any(name.startswith("scores-odd-on-rows-") for name in made)
    disabled = commands(workplace, scored=SCORED + "enabled: false\n")
    assert not any("trust_remote_code" in command for command in disabled.values())


def test_answers_and_scores_have_the_attention_of_the_training(workplace):
    made = commands(workplace, **CHAIN)
    (baseline,) = (cmd for name, cmd in made.items() if name.startswith("baseline-first-on-rows-"))
    assert '--generation \'{"attn_implementation": "sdpa", "max_new_tokens": 4}\' ' in baseline
    chosen = {name: cmd.partition("--attn_implementation ")[2].split(" ")[0] for name, cmd in made.items()}
    assert chosen["generate-second"] == chosen["evaluate-second"] == "sdpa"
    assert chosen["evaluate-third"] == ""  # it loads nothing
    scored = [chosen[name] for name in chosen if name.startswith("scores-first-on-rows-")]
    assert sorted(scored) == ["eager", "sdpa"]  # of the checkpoint that is scored, and of the run compared with it
    assert chosen["generate-third"] == ""  # its own section says it
    assert chosen["train-first"] == chosen["train-second"] == ""


@pytest.mark.parametrize(("place", "raw"), [("s3://bucket", "data/raw/made"), ("data/made", "data/made")])
def test_a_dataset_that_is_processed_already_is_taken_over(workplace, place, raw):
    workplace.write("config/datasets/made.yaml", f"tokenizer: tiny\nsource: {{processed: '{place}', kind: text}}\n")
    workplace.write("data/made/dataset.json", "{}")
    workplace.change("config/runs/pretrain.yaml", "dataset: text", "dataset: made")
    stages = build_graph(workplace.load()).stages
    process = stages["process-made"]
    assert f"--sections source --raw {raw} --tokenizer tokenizers/tiny " in process.cmd
    assert process.params == {"config/datasets/made.yaml": ("source",)}
    assert ("download-made" in stages) == (raw == "data/raw/made")
    assert raw in process.deps
    assert "data/processed/made" in stages["train-pretrain"].deps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source: {processed: data/made}", "source.kind: is missing; say what the processed rows are"),
        ("source: {processed: 's3:bucket', kind: text}", "source.processed: must look like s3://bucket/prefix"),
        ("source: {processed: data/nowhere, kind: text}", "source.processed: there is no data/nowhere"),
        ("source: {path: data/made, kind: text}", "source.kind: has no effect without `processed:`"),
        ("source: {processed: data/made, path: data/made, kind: text}", "source: give exactly one of hub, s3, path, "),
        (
            "source: {processed: data/made, kind: text}\n"
            "processing: {processing_function: plain_text_processing_function, max_length: 9}",
            "processing: has no effect on source.processed, whose rows are token ids already",
        ),
    ],
)
def test_what_does_not_go_with_processed_rows_is_told(workplace, text, said):
    workplace.write("data/made/dataset.json", "{}")
    workplace.write("config/datasets/made.yaml", f"tokenizer: tiny\n{text}\n")
    (mistake,) = workplace.mistakes()
    assert said in mistake


def test_the_kind_of_processed_rows_is_checked_against_the_trainer(workplace):
    workplace.write("data/made/dataset.json", "{}")
    workplace.write("config/datasets/made.yaml", "tokenizer: tiny\nsource: {processed: data/made, kind: preference}\n")
    workplace.change("config/runs/sft.yaml", "dataset: both", "dataset: made")
    assert any("made has preference rows" in mistake for mistake in workplace.mistakes())


def test_data_that_no_colleague_gets_is_told(workplace, monkeypatch):
    """Neither git nor DVC carries data/mine.jsonl, which the enabled run `sft` reads by a mixture."""
    monkeypatch.chdir(workplace.root)
    monkeypatch.setattr("pipeline.ledger.sharing.ROOT", workplace.root)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workplace.root.parent))
    project = workplace.load()
    assert only_here(project) == []  # no git, nobody to share with
    subprocess.run(["git", "init", "-q"], check=True)
    (told,) = only_here(project)
    assert told == (
        "config/datasets/more-chats.yaml: data/mine.jsonl is in this clone only, and a colleague's needs it as well: "
        "`git add data/mine.jsonl`, or of a large one `dvc add data/mine.jsonl`, `git add data/mine.jsonl.dvc` "
        "and `dvc push`"
    )
    for pointer in ("data/mine.jsonl.dvc", "data.dvc"):
        workplace.write(pointer, "outs: []\n")
        assert only_here(project) == []
        (workplace.root / pointer).unlink()
    subprocess.run(["git", "add", "data/mine.jsonl"], check=True)
    assert only_here(project) == []
    monkeypatch.setattr("pipeline.ledger.sharing.ROOT", workplace.root / "config")  # the data lies outside of the clone
    subprocess.run(["git", "rm", "-q", "--cached", "data/mine.jsonl"], check=True)
    assert only_here(project) == []
