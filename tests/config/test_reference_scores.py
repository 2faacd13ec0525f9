"""What the base of preference trainings gives their rows: which runs share it, what changes it, what is refused."""

import json
from dataclasses import replace

import pytest

from heirloom.estimates.setups import shape_and_dtype, training_setup
from pipeline.graph.commands import settings_in
from pipeline.graph.graph import build_graph
from pipeline.graph.stages import Stage

DPO = "base: sft\ndataset: pairs\ntrainer: dpo\ntraining: {{global_batch_size: 64{keys}}}\n{more}"
KTO = DPO.replace("trainer: dpo", "trainer: kto")


def stages_with(workplace, keys: str = "", more: str = "", run: str = DPO, name: str = "mine") -> dict[str, Stage]:
    """Return the graph's stages with a run added, or written anew."""
    workplace.write(f"config/runs/{name}.yaml", run.format(keys=keys and f", {keys}", more=more))
    return build_graph(workplace.load()).stages


def read_by(stages: dict[str, Stage], run: str = "mine") -> str | None:
    """Return the scores that a run's training reads, and see that its command says so."""
    train = stages[f"train-{run}"]
    (scores,) = train.inputs.get("reference_scores", (None,))
    assert (f"--reference_scores {scores}" in train.cmd) == (scores is not None)
    return scores


def test_runs_share_what_their_base_gives_the_rows_whatever_they_make_of_it(workplace):
    stages = stages_with(workplace, "beta: 0.1")
    scores = read_by(stages)
    assert scores == read_by(stages, "dpo")  # which is there already, on the same base and rows
    stage = stages[f"reference-{scores.partition('/')[2]}"]
    assert scores.startswith("reference_scores/sft-on-pairs-") and stage.outs == (scores,)
    assert stage.inputs == {"dataset": ("data/processed/pairs",), "base": ("checkpoints/sft",)}
    assert stage.params == {} and stage.first_run == "dpo" and not stage.of_run

    own = "beta: 0.5, loss_type: [ipo], seed: 3, learning_rate: 1e-6, num_train_epochs: 2"
    others = stages_with(workplace, own, "resources: {instance_type: ml.g5.xlarge}\n", name="a-first")
    assert read_by(others, "a-first") == scores
    shared = others[stage.name]
    assert shared == replace(stage, first_run="a-first", resources=shared.resources)  # the first by name
    assert shared.resources["instance_type"] == "ml.g5.xlarge"


@pytest.mark.parametrize(
    "keys", ["bf16: true", "default_dtype: bfloat16", "attn_implementation: eager", "ld_alpha: 0.5"]
)
def test_what_decides_a_pass_of_the_base_makes_other_scores(workplace, keys):
    before = read_by(stages_with(workplace))
    stages = stages_with(workplace, keys)
    after = read_by(stages)
    assert after != before and read_by(stages, "dpo") == before
    name, _, value = keys.partition(": ")
    said = settings_in(stages[f"reference-{after.partition('/')[2]}"].cmd)["training"]
    assert said == {name: json.loads(value) if value in ("true", "0.5") else value}


def test_another_base_dataset_or_deepspeed_makes_other_scores(workplace):
    found = [read_by(stages_with(workplace))]
    found.append(read_by(stages_with(workplace, run=DPO.replace("base: sft", "base: pretrain"))))
    workplace.write("config/deepspeed/zero1.json", '{"zero_optimization": {"stage": 1}}')
    stages = stages_with(workplace, more="deepspeed: zero1\n")
    found.append(read_by(stages))
    assert len({*found}) == 3
    assert "config/deepspeed/zero1.json" in stages[f"reference-{found[-1].partition('/')[2]}"].deps


def test_ktos_order_of_rows_is_part_of_its_scores_and_is_said_once(workplace):
    found = [
        read_by(stages_with(workplace, keys, run=KTO))
        for keys in ("", "seed: 42", "data_seed: 42, beta: 0.3", "per_device_train_batch_size: 8", "seed: 1")
    ]
    assert len({*found[:4]}) == 1 and found[4] != found[0]
    dpo = read_by(stages_with(workplace))
    assert found[0] != dpo  # other columns


def test_an_adapter_has_its_reference_within_unless_the_run_says_otherwise(workplace):
    adapter = "peft: {r: 4}\n"
    assert read_by(stages_with(workplace, more=adapter)) is None
    assert read_by(stages_with(workplace, "reference: inline")) is None
    stages = stages_with(workplace, "reference: scores", adapter + "quantization: {load_in_4bit: true}\n")
    command = stages[f"reference-{read_by(stages).partition('/')[2]}"].cmd
    assert "--beneath_adapter true" in command and settings_in(command)["quantization"] == {"load_in_4bit": True}


@pytest.mark.parametrize(
    ("keys", "more", "model", "computed"),
    [
        ("", "", False, False),
        ("reference: inline", "", True, True),
        ("", "peft: {r: 4}\n", False, True),
        ("reference: scores", "peft: {r: 4}\n", False, False),
    ],
)
def test_the_plan_counts_a_second_model_and_its_pass_where_there_is_one(workplace, keys, more, model, computed):
    stages_with(workplace, keys, more)
    project = workplace.load()
    run = project.runs["mine"]
    shape, saved = shape_and_dtype(run, project, workplace.root)
    setup = training_setup(run, shape, saved, 2, 128, workplace.root)
    assert (setup.reference, setup.reference_pass) == (model, computed)


REFUSED = {
    "its name before": ("precompute_ref_log_probs: true", "", "training.reference says where they come from: scores"),
    "a place that is none": (
        "reference: inlined",
        "",
        "expected scores or inline, found the text 'inlined'; did you mean inline?",
    ),
    "the batch of nothing": (
        "reference: inline, precompute_ref_batch_size: 4",
        "",
        "has no effect without reference: scores",
    ),
    "the batch with an adapter": (
        "precompute_ref_batch_size: 4",
        "peft: {r: 4}\n",
        "has no effect without reference: scores",
    ),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_has_no_effect_is_told(workplace, asked):
    keys, more, problem = REFUSED[asked]
    workplace.write("config/runs/mine.yaml", DPO.format(keys=f", {keys}", more=more))
    assert problem in workplace.mistakes()[0]


def test_trainers_without_a_reference_have_no_such_key(workplace):
    workplace.change("config/runs/sft.yaml", "learning_rate: 1e-4", "reference: inline")
    assert "training.reference: has no effect with trainer: sft; delete it" in workplace.mistakes()[0]
