"""The memory formulas against a matrix of small trainings, generations and evaluations: live bytes within a tenth.

Half of the matrix is Llama's: on it, and on the shapes of tests/unit/test_memory_estimates.py, the constants of the
formulas were read. The other half, of Qwen3's with its norms of queries and keys, its tied output layer and, where a
method packs, packed rows, holds them: no constant was chosen by it.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from live_tensors import RANK, live_passes

from heirloom.estimates.answering_memory import generation_memory, scoring_memory
from heirloom.estimates.deepspeed_settings import DeepSpeedSettings, settings_of
from heirloom.estimates.model_passes import Passes
from heirloom.estimates.model_shape import ModelShape, model_shape
from heirloom.estimates.training_memory import FOUR_BITS, TrainingSetup, training_memory, training_phases

FIXED = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2816,
    "num_hidden_layers": 3, "num_attention_heads": 16, "num_key_value_heads": 4,
}  # fmt: skip
HELD = {
    "model_type": "qwen3", "vocab_size": 50000, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 3,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip
LOSSES = {"trainer": "whole", "sft": "tiled", "dpo": "preference", "orpo": "pairs", "reward": "number"}
"""Method → how its loss is computed (`live_tensors`)."""
PACKS = ("trainer", "sft")
ROWS = (4, 512)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize("method", LOSSES)
@pytest.mark.parametrize("config", [FIXED, HELD], ids=["fixed", "held"])
@pytest.mark.usefixtures("as_on_a_gpu")
def test_passes_of_each_method(config, method, adapter, checkpointing, monkeypatch):
    loss = LOSSES[method]
    packed = config is HELD and method in PACKS
    found = live_passes(config, ROWS, loss, checkpointing, adapter, monkeypatch, packed)
    shape = replace(model_shape(config), scores=method == "reward")
    setup = TrainingSetup(
        shape, DeepSpeedSettings(stage=2, present=True, reduce_bucket=0), 1, ROWS[0] * ROWS[1], 2, checkpointing,
        adapter=shape.adapter(RANK, None) if adapter else None, rank=RANK * adapter, adapted=7 * adapter,
        loss="tiled" if method == "dpo" else loss,
    )  # fmt: skip
    assert found["peak"] == pytest.approx(highest_of_passes(setup, found["gradients"]), rel=0.10)


def highest_of_passes(setup: TrainingSetup, gradients: int) -> float:
    """Return the peak of a pass where nothing shards gradients: all are there at its end, all but two before."""
    shape, frozen = setup.shape, setup.adapter is not None
    phases = training_phases(setup)
    passes = Passes(shape, setup.tokens, setup.d, frozen, setup.rank, setup.adapted)
    first_block = gradients - 2 * (shape.embedding + shape.layer) + passes.through_a_layer(setup.checkpointing)
    return max(phases["scores"], phases["layers"], *(() if frozen else (gradients, first_block)))


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> list[dict]:
    """What real tiny trainings, generations and evaluations held at their peak."""
    program = Path(__file__).with_name("tiny_peaks.py")
    command = [sys.executable, str(program), str(tmp_path_factory.mktemp("peaks"))]
    folders = os.pathsep.join(filter(None, [str(program.parents[2] / "scripts"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, env={**os.environ, "DS_ACCELERATOR": "cpu", "PYTHONPATH": folders}, stdout=subprocess.PIPE, text=True,
        check=True, timeout=600,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"kind"')]


def shape_of(row: dict) -> ModelShape:
    from tiny_peaks import MODELS

    return model_shape({"model_type": row["kind"], **MODELS[row["kind"]]})


def test_whole_steps_of_the_real_engine_and_of_adapters_without_it(peaks):
    """States and passes together, from the forward pass to the optimizer's step."""
    engine = [row for row in peaks if "stage" in row]
    plain = [row for row in peaks if "quantized" in row]
    assert (len(engine), len(plain)) == (4 * 2 * 2, 2 * 2 * 2)
    for row in engine + plain:
        shape = shape_of(row)
        zero = {"stage": row.get("stage"), "reduce_bucket_size": 1000, "stage3_max_live_parameters": 1000}
        adapter = shape.adapter(RANK, None) if row.get("adapter", True) else None
        setup = TrainingSetup(
            shape, settings_of({"zero_optimization": zero}, 64) if "stage" in row else DeepSpeedSettings(), 1, 512, 2,
            row["checkpointing"], adapter=adapter, rank=RANK if adapter else 0, adapted=7 if adapter else 0,
            quantized=FOUR_BITS if row.get("quantized") else None,
        )  # fmt: skip
        memory = training_memory(setup)
        copied = memory.parts["gradients"] / 2 if row in plain else 0  # nothing copies gradients on one rank alone
        assert row["peak"] == pytest.approx(memory.total - copied, rel=0.10), row


def test_answers_and_scores(peaks):
    answers = [row for row in peaks if "generates" in row]
    scores = [row for row in peaks if "scores" in row]
    assert (len(answers), len(scores)) == (2 * 2 * 2, 2 * 2 * 4)
    for row in answers:
        assert row["peak"] == pytest.approx(
            generation_memory(shape_of(row), *row["generates"], row["width"]), rel=0.10
        ), row
    for row in scores:
        assert row["peak"] == pytest.approx(scoring_memory(shape_of(row), *row["scores"], row["width"]), rel=0.10), row
