"""Reward models in config/: their stages, what scores by them, and what cannot be asked of them."""

import pytest

from heirloom.config.sections.gates import gate_problems
from heirloom.config.sections.resources import ResourcesSection
from heirloom.estimates.setups import shape_and_dtype, training_setup
from heirloom.estimates.training_memory import model_states
from pipeline.graph.graph import build_graph, load_graph
from pipeline.plan.quotation import is_quoted, machines_of

REWARD = "base: sft\ndataset: pairs\ntrainer: reward\n{more}training: {{global_batch_size: 64{keys}}}\n"
SCORED = "[reward], reward_model: judge"


def with_judge(workplace, more: str = "", keys: str = "") -> None:
    """Add a run that trains a reward model."""
    workplace.write("config/runs/judge.yaml", REWARD.format(more=more, keys=keys))


def scored(workplace, evaluation: str) -> None:
    workplace.change("config/runs/dpo.yaml", "{metrics: [exact_match]}", f"{{metrics: {evaluation}}}")


def test_a_reward_model_is_an_input_of_the_scores_that_it_gives(workplace):
    with_judge(workplace, "evaluation: {metrics: [preference]}\n", ", center_rewards_coefficient: 0.01")
    scored(workplace, "[exact_match, reward], reward_model: judge, base: true")
    graph = build_graph(workplace.load())
    evaluate = graph.stages["evaluate-dpo"]
    assert evaluate.inputs["reward_model"] == ("checkpoints/judge",)
    assert "checkpoint" not in evaluate.inputs and "checkpoints/judge" in evaluate.deps
    assert "--reward-model checkpoints/judge" in evaluate.cmd
    assert "train-judge" in graph.upstream["evaluate-dpo"]
    own = graph.stages["evaluate-judge"].inputs
    assert own == {"checkpoint": ("checkpoints/judge",), "preferences": ("data/processed/pairs",)}
    assert "scripts/reward_train.py" in graph.stages["train-judge"].cmd
    assert {"evaluate-judge", "report-judge"} <= graph.stages.keys() and "generate-judge" not in graph.stages


LEARNS = """\
base: sft
dataset: chats
trainer: grpo
training:
  global_batch_size: 64
  rewards: [{function: reward_model, reward_model: judge}, {function: length, weight: -0.1}]
"""


def test_a_reward_model_is_an_input_of_the_training_that_learns_from_it(workplace, monkeypatch):
    with_judge(workplace)
    workplace.write("config/runs/rl.yaml", LEARNS)
    project = workplace.load()
    train = build_graph(project).stages["train-rl"]
    assert train.inputs["reward_models"] == ("checkpoints/judge",)
    tried = "metrics/rewards/rl.json"
    assert f" --reward_models judge=checkpoints/judge --tried_rewards {tried} --output " in train.cmd
    assert train.inputs["tried_rewards"] == (tried,) and train.outs[1] == "metrics/completions/rl.jsonl"
    alone = build_graph(project, ["rl"]).stages  # what is rehearsed
    assert {"train-judge", "process-pairs"} <= alone.keys() and alone["train-rl"] == train
    workplace.change("config/runs/judge.yaml", "trainer: reward", "trainer: reward\nbeta: 1")
    monkeypatch.chdir(workplace.root)
    _, graph = load_graph(strict=False)
    assert "train-rl" not in graph.stages and "train-dpo" in graph.stages  # nor a KeyError for all that is asked
    run, (shape, saved) = project.runs["rl"], shape_and_dtype(project.runs["rl"], project, workplace.root)
    setup = training_setup(run, shape, saved, 2, 64, workplace.root, reward_models=5e9)
    assert model_states(setup).gpu["reward models"] == 5e9


def test_rewards_are_tried_on_a_cpu_and_where_the_training_runs_with_a_reward_model(workplace):
    with_judge(workplace)
    resources = "resources: {instance_type: ml.g5.xlarge, instance_count: 2, nodes: 2, tags: {team: a}}\n"
    workplace.write("config/runs/rl.yaml", LEARNS + resources)
    alone = LEARNS.replace("{function: reward_model, reward_model: judge}", "{function: 'my_rows:shorten'}")
    workplace.write("config/runs/rl-alone.yaml", alone + resources)
    project = workplace.load()
    stages = build_graph(project).stages
    judged, light = stages["rewards-rl"], stages["rewards-rl-alone"]
    rows = {"dataset": ("data/processed/chats",), "tokenizer": ("tokenizers/tiny",)}
    assert light.inputs == rows and light.resources == {"tags": {"team": "a"}} and light.params == {}
    assert judged.inputs == rows | {"reward_models": ("checkpoints/judge",)}
    assert judged.resources == {"instance_type": "ml.g5.xlarge", "tags": {"team": "a"}}  # one process, so one machine
    assert stages["train-rl"].resources["instance_count"] == 2
    assert (judged.gpus, light.gpus, stages["train-rl"].gpus) == (1, 0, None)
    one = ResourcesSection(gpus_per_node=8, nodes=2).machines("training").of_one_process()
    assert (one.gpus_per_node, one.nodes) == (1, None)
    assert machines_of(judged, project.runs["rl"]).instance_count is None
    assert light.metrics == ("metrics/rewards/rl-alone.json",)
    assert " --reward_models judge=checkpoints/judge --metrics metrics/rewards/rl.json" in judged.cmd
    assert [is_quoted(stage, project) for stage in (judged, light)] == [True, False]
    workplace.change("config/runs/rl.yaml", "global_batch_size: 64", "global_batch_size: 32\n  learning_rate: 1.0e-3")
    workplace.change("config/runs/rl-alone.yaml", "weight: -0.1", "weight: -0.2")
    again = build_graph(workplace.load()).stages
    assert again["rewards-rl"].cmd == judged.cmd and again["rewards-rl-alone"].cmd != light.cmd


def test_a_run_that_trains_nothing_scores_the_pairs_by_the_reward_model_that_it_stands_on(workplace):
    with_judge(workplace)
    run = "base: judge\nevaluation: {metrics: [preference], preference_dataset: pairs}\n"
    workplace.write("config/runs/again.yaml", run)
    scored(workplace, "[reward], reward_model: again")
    stages = build_graph(workplace.load()).stages
    assert stages["evaluate-again"].inputs["checkpoint"] == ("checkpoints/judge",)
    assert stages["evaluate-dpo"].inputs["reward_model"] == ("checkpoints/judge",)


IS_ONE = "is a reward model, which gives a text one number and writes nothing"
ASKED = {
    "generation": ("generation: {dataset: chats}\n", "generation", f"its checkpoint {IS_ONE}; delete it, or let"),
    "lm_eval": ("lm_eval: {include_path: data, tasks: [x]}\n", "lm_eval", f"its checkpoint {IS_ONE}; delete it, or"),
    "perplexity": (
        *("evaluation: {metrics: [preference, perplexity], dataset: chats}\n", "evaluation.metrics[1]"),
        f"its checkpoint {IS_ONE}, so perplexity cannot be; use preference",
    ),
    "its own rewards": (
        *("evaluation: {metrics: [reward], reward_model: judge}\n", "evaluation.metrics[0]"),
        f"its checkpoint {IS_ONE}: ask for reward in the run that it is to score; here use preference",
    ),
    "beta": (
        *("evaluation: {metrics: [preference], beta: 0.2}\n", "evaluation.beta"),
        f"has no effect: its checkpoint {IS_ONE}",
    ),
    "an adapter alone": (
        *("peft: {merge: false}\n", "peft.merge"),
        "false is not available with trainer: reward, whose head is in no model below it; set true, and the",
    ),
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_reward_model_cannot_do_is_refused_by_its_key(workplace, asked):
    text, key, problem = ASKED[asked]
    with_judge(workplace, text)
    (mistake,) = workplace.mistakes()
    assert f": {key}: {problem}" in mistake


OF_OTHERS = {
    "trained on": (
        *("base: sft\n", "base: judge\n"),
        f"dpo.yaml:1: base: judge {IS_ONE}, so trainer: dpo cannot train it, only reward; choose another base",
    ),
    "no such run": ("[exact_match]", "[reward], reward_model: juge", "there is no run juge; did you mean judge?"),
    "another run": (
        *("[exact_match]", "[reward], reward_model: sft"),
        "the run sft trains no reward model (trainer: reward); others are: judge",
    ),
    "none": ("[exact_match]", "[reward]", "evaluation.reward_model: is missing; name the run whose reward model"),
    "no use": ("[exact_match]", "[exact_match], reward_model: judge", "has no effect without reward in metrics"),
}  # fmt: skip


@pytest.mark.parametrize("asked", OF_OTHERS)
def test_what_others_ask_of_a_reward_model_is_checked(workplace, asked):
    old, new, problem = OF_OTHERS[asked]
    with_judge(workplace)
    workplace.change("config/runs/dpo.yaml", old, new)
    (mistake,) = workplace.mistakes()
    assert problem in mistake


def test_a_disabled_reward_model_and_one_of_another_tokenizer_are_told(workplace):
    with_judge(workplace, "enabled: false\n")
    scored(workplace, SCORED)
    assert "the run judge has `enabled: false`, and its checkpoint is needed" in workplace.mistakes()[0]
    workplace.write(
        "config/datasets/big-pairs.yaml",
        """\
        tokenizer: big
        source: {generator: demo, part: preferences, rows: 100}
        processing: {processing_function: dummy_rlhf_processing_function, max_length: 128}
        """,
    )
    with_judge(workplace)
    workplace.change("config/runs/judge.yaml", "base: sft\ndataset: pairs", "base: big\ndataset: big-pairs")
    assert "judge stands on big, whose tokenizer reads the prompts of tiny otherwise" in workplace.mistakes()[0]


def test_a_key_that_is_none_gets_the_near_one(workplace):
    with_judge(workplace, keys=", center_reward_coefficient: 0.01")
    assert "has no such key; did you mean center_rewards_coefficient?" in workplace.mistakes()[0]
    with_judge(workplace, keys=", beta: 0.1")
    assert "trl.RewardConfig 1.16.0 has no such key" in workplace.mistakes()[0]


def test_gates_hold_rewards_and_what_is_measured_of_a_reward_model(workplace):
    with_judge(workplace, "evaluation: {metrics: [preference]}\n")
    scored(workplace, SCORED)
    project = workplace.load()
    gates = {"preference.accuracy": ">= 0.6", "preference.calibration_error": "<= 0.1"}
    assert list(gate_problems(gates, project.runs["judge"].evaluation, None)) == []
    assert list(gate_problems({"reward": ">= 0"}, project.runs["dpo"].evaluation, None)) == []


def test_the_plan_knows_that_a_reward_model_has_no_output_layer(workplace):
    with_judge(workplace)
    project = workplace.load()
    judge, dpo = (shape_and_dtype(project.runs[name], project, workplace.root)[0] for name in ("judge", "dpo"))
    assert judge.parameters - dpo.parameters == judge.hidden - dpo.embedding
    assert training_setup(project.runs["judge"], judge, 4, 2, 128, workplace.root).loss == "number"
