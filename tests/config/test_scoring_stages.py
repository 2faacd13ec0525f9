"""What the stage of a run's scores reads: the base's answers, other runs' answers, the user's own functions."""

import pytest

from heirloom.config.parsing.mistakes import ConfigErrors
from pipeline.graph.graph import build_graph


def stages_of(workplace, evaluation: str):
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", f"{{metrics: {evaluation}}}")
    return build_graph(workplace.load()).stages


def test_a_base_that_answers_the_same_prompts_in_the_same_way_answers_them_once(workplace):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", "{dataset: chats}")
    stages = stages_of(workplace, "[exact_match], base: true")
    assert "baseline-dpo" not in stages
    assert stages["evaluate-dpo"].inputs["base_generations"] == ("generations/sft",)
    assert "--base-generations generations/sft" in stages["evaluate-dpo"].cmd


@pytest.mark.parametrize("other", ["{max_new_tokens: 16, dataset: chats}", "{max_new_tokens: 64}"])
def test_a_base_that_answers_otherwise_gets_a_stage_of_its_own(workplace, other):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", other)
    stages = stages_of(workplace, "[exact_match], base: true")
    baseline, generate = stages["baseline-dpo"], stages["generate-dpo"]
    assert baseline.inputs == {"checkpoint": ("checkpoints/sft",), "dataset": ("data/processed/chats",)}
    assert (baseline.params, baseline.files) == (generate.params, generate.files)
    assert stages["evaluate-dpo"].inputs["base_generations"] == ("baselines/dpo",) == baseline.outs


def test_a_base_that_is_a_model_and_prompts_from_a_file(workplace):
    workplace.write("prompts.jsonl", '{"prompt": "?", "reference": "!"}\n')
    workplace.change(
        "config/runs/pretrain.yaml", "{metrics: [perplexity]}", "{metrics: [perplexity, rouge], base: true}"
    )
    workplace.change(
        "config/runs/pretrain.yaml",
        "trainer: trainer\n",
        "trainer: trainer\ngeneration: {prompts_file: prompts.jsonl}\n",
    )
    stages = build_graph(workplace.load()).stages
    baseline = stages["baseline-pretrain"]
    assert baseline.inputs == {"checkpoint": ("models/tiny",)}
    assert "prompts.jsonl" in baseline.files and "--prompts prompts.jsonl" in baseline.cmd
    assert stages["evaluate-pretrain"].inputs["base"] == ("models/tiny",)


def test_only_what_is_scored_is_made_and_read(workplace):
    stages = stages_of(workplace, "[perplexity], base: true, dataset: chats")
    assert "baseline-dpo" not in stages
    assert stages["evaluate-dpo"].inputs == {
        "generations": ("generations/dpo",),
        "checkpoint": ("checkpoints/dpo",),
        "dataset": ("data/processed/chats",),
        "base": ("checkpoints/sft",),
    }


def test_preference_reads_pairs_and_the_base(workplace):
    inputs = stages_of(workplace, "[preference]")["evaluate-dpo"].inputs
    assert inputs["preferences"] == ("data/processed/pairs",)
    assert inputs["base"] == ("checkpoints/sft",)
    assert "dataset" not in inputs


def test_opponents_and_own_functions_are_read(workplace):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", "{dataset: chats}")
    workplace.write("judges.py", "def best(rows):\n    return 1\n")
    evaluate = stages_of(workplace, '["my_rows:shorten"], against: [sft], win_by: "judges:best"')["evaluate-dpo"]
    assert evaluate.inputs["against"] == ("generations/sft",)
    assert "--against sft=generations/sft" in evaluate.cmd


def test_the_harness_reads_the_checkpoint_and_the_folder_of_tasks(workplace):
    workplace.write("config/tasks/finds.yaml", "task: finds\n")
    text = "\nlm_eval: {include_path: config/tasks, tasks: [finds]}\n"
    workplace.change("config/runs/sft.yaml", "\nevaluation: {metrics: [exact_match]}\n", text)
    stage = build_graph(workplace.load()).stages["harness-sft"]
    assert stage.inputs == {"checkpoint": ("checkpoints/sft",)}
    assert "config/tasks" in stage.files
    assert (stage.params, stage.metrics) == ({"config/runs/sft.yaml": ("lm_eval",)}, ("metrics/harness/sft.json",))


def test_gates_read_the_scores_that_they_are_on(workplace):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", "{dataset: chats}")
    gates = "{metrics: [exact_match]}\ngates: {exact_match: not worse than sft by 0.1, answer_found: '>= 0.5'}"
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", gates)
    stages = build_graph(workplace.load()).stages
    assert stages["gate-dpo"].inputs == {
        "evaluation": ("metrics/evaluation/dpo.json",),
        "against_evaluation": ("metrics/evaluation/sft.json",),
    }
    assert stages["gate-dpo"].params == {"config/runs/dpo.yaml": ("gates",)}
    assert stages["report-dpo"].inputs["against_evaluation"] == ("metrics/evaluation/sft.json",)


@pytest.mark.parametrize(
    ("gates", "problem"),
    [
        (
            "{rouge.rougeL: '>= 0.5'}",
            "the run has no score rouge.rougeL; its evaluation gives exact_match, answer_found",
        ),
        ("{change.exact_match: not worse by 0.1}", "add evaluation.base: true"),
        ("{exact_match: not worse than stf by 0.1}", "there is no run stf; did you mean sft?"),
        ("{exact_match: not worse than dpo by 0.1}", "dpo is this run itself"),
        ("{harness.gsm8k.acc: '>= 0.1'}", "add `lm_eval:`"),
        ("{exact_match: not worse than pretrain by 0.1}", "pretrain: the run has no score exact_match"),
        ("{}", "names no score"),
    ],
)
def test_a_gate_on_what_the_run_does_not_have_is_told_with_the_plan(workplace, gates, problem):
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", f"{{metrics: [exact_match]}}\ngates: {gates}")
    with pytest.raises(ConfigErrors) as told:
        workplace.load()
    assert problem in str(told.value)
