"""Quantized bases: sharded by ZeRO-3, trained alike by the other stages, and never trained whole."""

import json
import shutil

import bitsandbytes as bnb
import pytest
import torch
from training_workplace import ROOT, TRAINING

from heirloom.config.sections.quantization import QuantizationSection
from heirloom.errors import HeirloomError
from heirloom.models.quantization import bitsandbytes_config, check_narrow_layers, reads_blocks_over_rows

LORA = {"r": 4}
BASE = "runs/pretrain/checkpoint"
WIDTHS = {
    "nf4": {"load_in_4bit": True},
    "nf4-bf16-storage": {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"},
    "int8": {"load_in_8bit": True},
}


@pytest.mark.parametrize("width", WIDTHS)
def test_zero3_shards_the_quantized_weights_themselves(workplace, runs, width, tmp_path):
    """Each of two ranks keeps half of every quantized parameter, and none of it whole outside of its layer's turn.

    Of 8 bits bitsandbytes keeps the numbers a second time, whole, in each layer's state, which nobody can shard.
    """
    settings = json.loads((ROOT / "config" / "deepspeed" / "zero3.json").read_text())
    settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0  # so that tiny weights are sharded too
    (tmp_path / "zero3.json").write_text(json.dumps(settings))
    sections = {"training": {**TRAINING, "max_steps": 1}, "peft": LORA, "quantization": WIDTHS[width]}
    command = workplace.training("sft_train.py", f"shards/{width}", dataset="chat", base=BASE, **sections)[1:]
    command[command.index("--deepspeed") + 1] = str(tmp_path / "zero3.json")
    said = workplace.torchrun("quantized_shards.py", [command])
    (line,) = [line for line in said.splitlines() if line.startswith("shards: ")]
    held = json.loads(line.removeprefix("shards: "))
    assert len(held) == 14  # the linear layers of two blocks
    for whole, shard, present in held:
        assert shard == whole / 2 and present == 0
    shutil.rmtree(workplace.folder / "shards")


def test_zero0_and_zero1_train_a_quantized_base_as_zero2_does(workplace, runs):
    """Within what 16 bits round: ZeRO-0 keeps no 32-bit copy of an adapter's weights, which are bfloat16 here."""
    losses = {}
    for zero in ("zero0", "zero1", "zero2"):
        jobs = []
        for width in ("nf4", "int8"):
            sections = {
                "training": {**TRAINING, "max_steps": 3, "bf16": width == "int8"},
                "quantization": WIDTHS[width],
            }
            place = f"quantized/{zero}-{width}"
            command = workplace.training(
                "sft_train.py", place, zero=zero, dataset="chat", base=BASE, peft=LORA, **sections
            )
            jobs.append({"arguments": command[1:]})
        workplace.torchrun("many_trainings.py", jobs)
        for width in ("nf4", "int8"):
            metrics = json.loads((workplace.folder / f"quantized/{zero}-{width}" / "metrics.json").read_text())
            losses.setdefault(width, []).append(metrics["after"]["loss"])
    for width, found in losses.items():
        assert found == pytest.approx([found[-1]] * 3, abs=5e-3), width


def test_a_layer_narrower_than_a_block_is_refused_where_it_is_read_wrongly(monkeypatch):
    """As by a kernel that takes the first block's scale for all rows."""
    assert reads_blocks_over_rows() or torch.backends.cpu.get_cpu_capability() != "AVX2"
    model = torch.nn.Sequential(bnb.nn.Linear4bit(64, 8), bnb.nn.Linear4bit(32, 8))
    right = bnb.functional.dequantize_4bit

    def with_the_first_scale(packed, state):
        state.absmax = state.absmax[:1].expand_as(state.absmax).contiguous()
        return right(packed, state)

    monkeypatch.setattr(bnb.functional, "dequantize_4bit", with_the_first_scale)
    check_narrow_layers(model[:1])
    with pytest.raises(HeirloomError, match="load_in_4bit: 1 has 32 inputs, no multiple of a block's 64"):
        check_narrow_layers(model)


def test_every_key_reaches_bitsandbytes():
    section = QuantizationSection(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype="float32",
        bnb_4bit_quant_storage="bfloat16",
    )
    made = bitsandbytes_config(section).to_dict()
    for key, value in section.model_dump().items():
        if key.startswith(("bnb_4bit", "load_in")):
            assert made[key] == value, key
    made = bitsandbytes_config(QuantizationSection(load_in_8bit=True, llm_int8_threshold=3.0))
    assert made.load_in_8bit and made.llm_int8_threshold == 3.0
