"""Which sections of a run's file are part of the identity of its training."""

import pytest

from pipeline.graph.graph import build_graph

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
    assert "scripts/seq2seq_train.py" in stage.files and "scripts/heirloom/config/sections/generation.py" in stage.files


def test_an_edit_of_generation_makes_no_other_training_stale(workplace):
    graph = build_graph(workplace.load())
    answering = {"scripts/heirloom/config/sections/generation.py", "scripts/heirloom/inference/answers.py"}
    for run in ("pretrain", "sft", "dpo"):
        files = graph.stages[f"train-{run}"].files
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
    return {name: stage.cmd for name, stage in stages.items() if stage.subject in names}


@pytest.mark.parametrize("key", ["trust_remote_code: true\n", "training: {trust_remote_code: true, "])
def test_one_decision_holds_for_all_that_loads_a_model(workplace, key):
    said = CHAIN["first"].replace("training: {", key) if "training" in key else CHAIN["first"] + key
    for name, command in commands(workplace, **CHAIN | {"first": said}).items():
        loads = not name.startswith(("download", "report"))
        assert ("--trust_remote_code true" in command) == loads, command
    assert not any("trust_remote_code" in command for command in commands(workplace, **CHAIN).values())


def test_a_run_that_only_scores_decides_too(workplace):
    made = commands(workplace, scored=SCORED)
    assert made.keys() >= {"tokenizer-odd", "model-odd", "process-rows", "evaluate-scored"}
    assert all("--trust_remote_code true" in made[name] for name in made if not name.startswith(("download", "report")))
    disabled = commands(workplace, scored=SCORED + "enabled: false\n")
    assert not any("trust_remote_code" in command for command in disabled.values())


def test_answers_and_scores_have_the_attention_of_the_training(workplace):
    made = commands(workplace, **CHAIN)
    chosen = {name: cmd.partition("--attn_implementation ")[2].split(" ")[0] for name, cmd in made.items()}
    assert chosen["generate-second"] == chosen["baseline-second"] == chosen["evaluate-second"] == "sdpa"
    assert chosen["evaluate-third"] == "eager"  # of the checkpoint that it scores
    assert chosen["generate-third"] == ""  # its own section says it
    assert chosen["train-first"] == chosen["train-second"] == ""
