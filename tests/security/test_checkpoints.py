"""A checkpoint that somebody else could write runs nothing when a training is resumed from it."""

import os
from pathlib import Path

import pytest
import torch
from attackers import Planted

from heirloom.distributed import plain_parts_of_states, start_rank
from heirloom.failures import sentence_of


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What start_rank sets for this process; what it sets in the interpreter goes away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr("sys.excepthook", None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr("heirloom.rank.imports_done", lambda: None)


def load(file: str) -> dict:
    """Load as DeepSpeed does, with its own code."""
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    return TorchCheckpointEngine().load(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_planted_state_runs_nothing(rank: None, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(
        {"module": {}, "planted": Planted()}, "mp_rank_00_model_states.pt", _use_new_zipfile_serialization=zipped
    )
    start_rank()
    with pytest.raises(Exception, match="Weights only load failed") as error:
        load("mp_rank_00_model_states.pt")
    assert not Path("pwned").exists()
    assert "holds more than numbers" in sentence_of(error.value)


def test_what_deepspeed_writes_is_read(rank: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own objects, in the forms that ZeRO's states have."""
    from collections import OrderedDict

    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    state = {
        "loss_scaler": LossScaler(1.0),
        "dynamic": DynamicLossScaler(2**16, 2.0, 100, 1.0, 1, False, True),
        "zero_stage": ZeroStageEnum.weights,
        "param_slice_mappings": [OrderedDict(weight=fragment_address(3, 4))],
        "param_shapes": [OrderedDict(weight=torch.Size([3, 4]))],
        "sparse": {"a"},
        "base_optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"betas": (0.9, 0.95)}]},
    }
    # as the Python of Debian 12 writes a member of an enumeration
    monkeypatch.setattr(ZeroStageEnum, "__reduce_ex__", lambda member, _: (getattr, (type(member), member.name)))
    torch.save(state, "refused.pt")
    start_rank()
    with torch.serialization.safe_globals(plain_parts_of_states()):
        with pytest.raises(Exception, match="GLOBAL getattr"):
            load("refused.pt")
        torch.save(state, "states.pt")
        found = load("states.pt")
    assert found["loss_scaler"].cur_scale == 1.0
    assert found["zero_stage"] is ZeroStageEnum.weights
    assert found["param_slice_mappings"] == state["param_slice_mappings"]
