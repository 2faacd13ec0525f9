"""What the stage of a run's scores reads: the base's answers, other runs' answers, the user's own functions."""

import re
from dataclasses import replace

import pytest

from heirloom.config.parsing.mistakes import ConfigErrors
from pipeline.code import carry_over
from pipeline.graph.graph import build_graph
from pipeline.graph.stages import Stage


def stages_of(workplace, evaluation: str):
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", f"{{metrics: {evaluation}}}")
    return build_graph(workplace.load()).stages


def baselines(stages: dict[str, Stage]) -> list[Stage]:
    """Return the stages in which bases answer."""
    return [stage for stage in stages.values() if stage.kind == "baseline"]


def scored_by_base(stages: dict[str, Stage]) -> list[Stage]:
    """Return the stages in which models score rows for all that are compared with them."""
    return [stage for stage in stages.values() if stage.kind == "scores"]


def test_a_base_that_answers_the_same_prompts_in_the_same_way_answers_them_once(workplace):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", "{dataset: chats}")
    stages = stages_of(workplace, "[exact_match], base: true")
    assert baselines(stages) == []
    assert stages["evaluate-dpo"].inputs["base_generations"] == ("generations/sft",)
    assert "--base-generations generations/sft" in stages["evaluate-dpo"].cmd


@pytest.mark.parametrize("other", ["{max_new_tokens: 16, dataset: chats}", "{max_new_tokens: 64}"])
def test_a_base_that_answers_otherwise_gets_a_stage_of_its_own(workplace, other):
    workplace.change("config/runs/sft.yaml", "{max_new_tokens: 16}", other)
    stages = stages_of(workplace, "[exact_match], base: true")
    (baseline,) = baselines(stages)
    assert re.fullmatch(r"baseline-sft-on-chats-[0-9a-f]{8}", baseline.name)
    assert baseline.inputs == {"checkpoint": ("checkpoints/sft",), "dataset": ("data/processed/chats",)}
    assert "--generation '{}' " in baseline.cmd and (baseline.params, baseline.files) == ({}, ())
    assert stages["evaluate-dpo"].inputs["base_generations"] == (f"baselines/{baseline.subject}",) == baseline.outs


COMPARED = """\
base: sft
dataset: pairs
trainer: dpo
training: {global_batch_size: 64, learning_rate: 3e-5}
generation: {dataset: chats}
evaluation: {metrics: [exact_match], base: true}
"""


def test_runs_on_one_base_share_its_answers_whatever_runs_there_are(workplace):
    alone = stages_of(workplace, "[exact_match], base: true")
    (before,) = baselines(alone)
    # the same settings: a default that is said, the attention that the other inherits, machines
    said = "generation: {test_batch_size: 8, max_new_tokens: 64, dataset: chats, attn_implementation: eager}"
    more = COMPARED.replace("generation: {dataset: chats}", said)
    workplace.write("config/runs/a-first.yaml", more + "resources: {instance_type: ml.g5.xlarge}\n")
    workplace.change("config/runs/dpo.yaml", "loss_type: [sigmoid]", "attn_implementation: eager")
    (shared,) = baselines(build_graph(workplace.load()).stages)
    assert shared.run == "a-first" and shared.resources["instance_type"] == "ml.g5.xlarge"  # the first by name

    workplace.write("config/runs/z-last.yaml", COMPARED)
    both = build_graph(workplace.load()).stages
    assert {stage.name for stage in baselines(both)} == {before.name, shared.name}  # z-last leaves attention open
    assert both["evaluate-z-last"].inputs["base_generations"] == before.outs
    assert both[before.name].cmd == before.cmd and both[shared.name].cmd == shared.cmd
    readers = {"evaluate-a-first", "report-a-first", "evaluate-dpo", "report-dpo"}
    assert {name for name, stage in both.items() if shared.outs[0] in stage.deps} == readers
    (workplace.root / "config/runs/a-first.yaml").unlink()
    left = build_graph(workplace.load()).stages
    (scores,) = (stage for stage in both.values() if stage.kind == "reference" and stage.first_run == "a-first")
    both |= {shared.name: replace(shared, first_run="dpo", resources={})}
    both |= {scores.name: replace(scores, first_run="z-last", resources={})}
    assert left.items() <= both.items()


@pytest.mark.parametrize(
    "other",
    [
        "generation: {dataset: chats, max_new_tokens: 8}",
        "generation: {dataset: chats, limit: 3}",
        "generation: {dataset: both}",
        "generation: {dataset: chats}\nportable: true",
        "generation: {dataset: chats}\ntrust_remote_code: true",
    ],
)
def test_what_decides_the_answers_decides_their_name(workplace, other):
    (before,) = baselines(stages_of(workplace, "[exact_match], base: true"))
    workplace.write("config/runs/other.yaml", COMPARED.replace("generation: {dataset: chats}", other))
    found = baselines(build_graph(workplace.load()).stages)
    assert len({stage.outs for stage in found}) == 2 and before in found


@pytest.mark.parametrize(
    ("said", "flags", "moved"),
    [
        ({"dataset": "chats"}, "", True),
        ({"dataset": "chats", "max_new_tokens": 64}, "", True),  # a default
        ({"dataset": "chats", "max_new_tokens": 8}, "", False),
        ({"dataset": "chats"}, " --attn_implementation eager", False),
        ({"dataset": "chats"}, " --trust_remote_code true", False),
        ({"dataset": "chats", "max_new_tokens": "many"}, "", False),
    ],
)
def test_an_earlier_versions_baseline_is_that_of_today_where_it_was_made_alike(workplace, said, flags, moved):
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", "{metrics: [exact_match], base: true}")
    graph = build_graph(workplace.load())
    (stage,) = baselines(graph.stages)
    file, program = "config/runs/dpo.yaml", "scripts/launch.py torchrun scripts/inference.py"
    inputs = "--checkpoint checkpoints/sft --dataset data/processed/chats"
    former = {
        "cmd": f"python {program} --config {file} --sections generation {inputs}{flags} --output baselines/dpo",
        "deps": [{"path": "checkpoints/sft", "md5": "a.dir"}],
        "params": {file: {"generation": said}},
        "outs": [{"path": "baselines/dpo", "md5": "b.dir"}],
    }
    found = carry_over(graph, {"baseline-dpo": former})
    today = {"cmd": stage.cmd, "deps": former["deps"], "outs": [{"path": stage.artifact, "md5": "b.dir"}]}
    assert found.entries == ({stage.name: today} if moved else {})
    assert found.moved == ({stage.name: "baseline-dpo"} if moved else {})


def test_the_runs_of_a_sweep_share_what_their_base_answers(workplace):
    workplace.write("config/runs/compared.yaml", COMPARED + "enabled: false\n")
    workplace.write(
        "config/sweeps/x.yaml", "run: compared\ngrid: {training.learning_rate: [1e-5, 2e-5]}\nseeds: [1, 2]"
    )
    stages = build_graph(workplace.load()).stages
    (baseline,) = baselines(stages)
    assert baseline.run == "x-learning_rate1e-5-seed1"
    assert sum(baseline.outs[0] in stage.deps for name, stage in stages.items() if name.startswith("evaluate-x-")) == 4


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
    (baseline,) = baselines(stages)
    assert baseline.subject.startswith("tiny-on-prompts-")
    assert baseline.inputs == {"checkpoint": ("models/tiny",)}
    assert "prompts.jsonl" in baseline.files and "--prompts prompts.jsonl" in baseline.cmd
    (scores,) = scored_by_base(stages)
    assert scores.inputs == {"checkpoint": ("models/tiny",), "dataset": ("data/processed/text",)}
    assert stages["evaluate-pretrain"].inputs["base_scores"] == scores.outs


def test_only_what_is_scored_is_made_and_read(workplace):
    stages = stages_of(workplace, "[perplexity], base: true, dataset: chats")
    assert baselines(stages) == []
    (scores,) = scored_by_base(stages)
    assert stages["evaluate-dpo"].inputs == {
        "generations": ("generations/dpo",),
        "checkpoint": ("checkpoints/dpo",),
        "dataset": ("data/processed/chats",),
        "base_scores": scores.outs,
    }
    assert re.fullmatch(r"base_scores/sft-on-chats-[0-9a-f]{8}.json", scores.artifact)


def test_preference_reads_pairs_and_the_base(workplace):
    stages = stages_of(workplace, "[preference]")
    inputs = stages["evaluate-dpo"].inputs
    assert inputs["preferences"] == ("data/processed/pairs",)
    (scores,) = scored_by_base(stages)
    assert inputs["base_scores"] == scores.outs and "dataset" not in inputs
    assert scores.inputs == {"checkpoint": ("checkpoints/sft",), "dataset": ("data/processed/pairs",)}


COMPARED_BY_MODELS = """\
base: sft
dataset: pairs
trainer: dpo
training: {global_batch_size: 64, learning_rate: 3e-5}
evaluation: {metrics: [perplexity, preference], base: true, dataset: chats}
"""


def test_runs_on_one_base_share_what_it_gives_to_rows_with_a_run_that_is_the_base(workplace):
    both = "[perplexity, preference], base: true, dataset: chats"
    before = scored_by_base(stages_of(workplace, both))
    assert len(before) == 2
    more = COMPARED_BY_MODELS.replace("3e-5", "1e-5").replace("true,", "true, beta: 2,")
    workplace.write("config/runs/more.yaml", more)
    itself = "{metrics: [perplexity, preference], dataset: chats, preference_dataset: pairs}"
    workplace.write("config/runs/itself.yaml", f"base: sft\nevaluation: {itself}\n")
    stages = build_graph(workplace.load()).stages
    assert [(stage.name, stage.cmd) for stage in scored_by_base(stages)] == [(each.name, each.cmd) for each in before]
    files = tuple(stage.artifact for stage in before)
    assert {*stages["evaluate-more"].inputs["base_scores"]} == {*files}
    of_itself = stages["evaluate-itself"]
    assert {*of_itself.inputs} == {"scores"} and {*of_itself.inputs["scores"]} == {*files}
    assert "--scores base_scores/" in of_itself.cmd and "--checkpoint" not in of_itself.cmd


@pytest.mark.parametrize(
    "other",
    [
        "evaluation: {metrics: [perplexity], base: true, dataset: chats, batch_size: 2}",
        "evaluation: {metrics: [perplexity], base: true, dataset: both}",
        "evaluation: {metrics: [perplexity], base: true, dataset: chats, attn_implementation: eager}",
        "evaluation: {metrics: [perplexity], base: true, dataset: chats}\nportable: true",
    ],
)
def test_what_decides_a_base_s_scores_decides_their_name(workplace, other):
    (before,) = scored_by_base(stages_of(workplace, "[perplexity], base: true, dataset: chats"))
    workplace.write("config/runs/other.yaml", COMPARED_BY_MODELS.partition("evaluation:")[0] + other)
    found = scored_by_base(build_graph(workplace.load()).stages)
    assert len({stage.outs for stage in found}) == 2 and before in found


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
    assert stage.outs == ("samples/sft",)


def test_the_harness_reads_the_scores_of_the_base_which_its_own_run_has(workplace):
    workplace.write("config/tasks/finds.yaml", "task: finds\n")
    for run, more in (("sft", ", batch_size: 2"), ("dpo", ", base: true")):
        text = f"\nlm_eval: {{include_path: config/tasks, tasks: [finds]{more}}}\n"
        workplace.change(f"config/runs/{run}.yaml", "\nevaluation: {metrics: [exact_match]}\n", text)
    stage = build_graph(workplace.load()).stages["harness-dpo"]
    assert stage.inputs["base_metrics"] == ("metrics/harness/sft.json",)
    assert "--base-samples samples/sft --" in stage.cmd


def test_the_harness_s_own_tasks_read_raw_datasets_which_are_only_downloaded(workplace):
    workplace.write("config/datasets/gsm8k.yaml", "source: {hub: openai/gsm8k, config: main}\n")
    workplace.write("config/datasets/mmlu.yaml", "source: {hub: cais/mmlu, configs: ['*']}\n")
    workplace.write("config/runs/x.yaml", "base: tiny\nlm_eval: {tasks: [mmlu, gsm8k], datasets: [gsm8k, mmlu]}\n")
    stages = build_graph(workplace.load()).stages
    downloads = [stages[f"download-{name}"].artifact for name in ("gsm8k", "mmlu")]
    assert [*stages["harness-x"].inputs["data"]] == downloads == ["data/raw/gsm8k", "data/raw/mmlu"]
    assert "--data data/raw/gsm8k data/raw/mmlu" in stages["harness-x"].cmd and stages["harness-x"].has_ranks
    assert not {"process-mmlu", "process-gsm8k"} & stages.keys()


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


OF_THE_ADAPTER = """\
base: sft
dataset: chats
generation: {max_new_tokens: 4}
evaluation: {metrics: [exact_match, perplexity]}
"""
ON_TOP = """\
base: answers
dataset: pairs
trainer: dpo
training: {global_batch_size: 64, learning_rate: 3e-5, reference: scores}
generation: {dataset: chats}
evaluation: {metrics: [exact_match, perplexity, preference], base: true, dataset: chats}
"""


def test_whoever_reads_an_adapter_needs_the_model_beneath_it(workplace):
    """Also by a run without a trainer: its jobs elsewhere began without the model that the adapter belongs to."""
    workplace.change("config/runs/sft.yaml", "trainer: sft\n", "trainer: sft\npeft: {r: 4}\n")
    workplace.write("config/runs/answers.yaml", OF_THE_ADAPTER)
    workplace.write("config/runs/on-top.yaml", ON_TOP)
    stages = build_graph(workplace.load()).stages
    readers = {
        name
        for name, stage in stages.items()
        if re.search(r" checkpoints/sft( |$)", stage.cmd) and "checkpoints/sft" not in stage.outs
    }
    of_scores = {name for name in readers if name.startswith(("baseline-", "reference-", "scores-"))}
    assert {name.split("-")[0] for name in of_scores} == {"baseline", "reference", "scores"}
    assert readers - of_scores >= {
        "generate-answers",
        "train-on-top",
        "train-dpo",
    }
    for name in readers:
        needed = {path for paths in stages[name].inputs.values() for path in paths}
        assert {"checkpoints/sft", "checkpoints/pretrain"} <= needed, name
