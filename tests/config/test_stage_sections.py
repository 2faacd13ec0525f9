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
