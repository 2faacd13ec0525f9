"""KTO in config/: which rows it takes, what is refused, and that the plan knows its reference."""

import pytest

from heirloom.config.trainers.table import TRAINERS
from heirloom.estimates.setups import shape_and_dtype, trained_rows, training_setup
from heirloom.estimates.steps import Rows
from pipeline.graph.graph import build_graph

RUN = "base: sft\ndataset: {dataset}\ntrainer: kto\ntraining: {{global_batch_size: 64{keys}}}\n{more}"
JUDGED = """\
tokenizer: tiny
source: {path: data/mine.jsonl}
processing: {processing_function: labelled_processing_function, max_length: 128, max_prompt_length: 64}
"""


def with_judged(workplace, dataset: str = "judged", keys: str = "", more: str = "") -> None:
    """Add a run that learns from judged answers, or from pairs."""
    workplace.write("config/datasets/judged.yaml", JUDGED)
    workplace.write("config/runs/judged.yaml", RUN.format(dataset=dataset, keys=keys, more=more))


@pytest.mark.parametrize("dataset", ["judged", "pairs"])
def test_it_learns_from_judged_answers_and_from_pairs(workplace, dataset):
    with_judged(workplace, dataset, ", beta: 0.2, desirable_weight: 1.5, reference: inline")
    project = workplace.load()
    train = build_graph(project).stages["train-judged"]
    assert train.program == "scripts/kto_train.py" and train.inputs["dataset"] == (f"data/processed/{dataset}",)
    run = project.runs["judged"]
    shape, saved = shape_and_dtype(run, project, workplace.root)
    setup = training_setup(run, shape, saved, 2, 128, workplace.root)
    assert (setup.loss, setup.reference, setup.tokens) == ("tiled", True, 8 * 128)  # answers count, not pairs
    rows, _ = trained_rows(run, project, Rows(100, 9_000, 128, exact=True))
    assert (rows.rows, rows.exact) == ((200, False) if dataset == "pairs" else (100, True))
    assert not TRAINERS["kto"].takes_pairs


REFUSED = {
    "another order": (", train_sampling_strategy: random", "must be sequential with trainer: kto"),
    "no neighbor": (", per_device_train_batch_size: 1", "must be at least 2 with trainer: kto"),
    "a moving reference": (", sync_ref_model: true", "is not available: the reference that follows the model"),
    "a key that is none": (", desirable_wieght: 2.0", "did you mean desirable_weight?"),
    "a loss that is none": (", loss_type: kta", "did you mean kto?"),
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_kto_cannot_do_is_told(workplace, asked):
    keys, problem = REFUSED[asked]
    with_judged(workplace, keys=keys)
    assert problem in workplace.mistakes()[0]


def test_trained_biases_would_move_the_reference_and_an_adapted_output_layer_is_passed_by(workplace):
    with_judged(workplace, more="peft: {bias: all, target_modules: [lm_head]}\n")
    said = "\n".join(workplace.mistakes())
    assert "peft.bias: all cannot be used with trainer: kto, whose reference is the base" in said
    assert "lm_head cannot have an adapter with trainer: kto" in said


def test_without_kl_a_single_row_will_do(workplace):
    with_judged(workplace, keys=", per_device_train_batch_size: 1, loss_type: apo_zero_unpaired")
    assert "judged" in workplace.load().runs


def test_others_do_not_take_judged_answers(workplace):
    with_judged(workplace)
    workplace.change("config/runs/dpo.yaml", "dataset: pairs", "dataset: judged")
    assert "trainer dpo learns from preference rows" in workplace.mistakes()[0]
