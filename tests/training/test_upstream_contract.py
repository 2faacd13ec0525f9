"""What our trainers override or call behind the libraries' public face is what it was when they were written.

`PYTHONPATH=scripts python tests/training/test_upstream_contract.py` writes upstream_contract.json anew: after each line
that changed has been read, and the class of ours that stands on it.
"""

import hashlib
import importlib
import inspect
import json
import os
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # or trl.experimental warns that it may be moved

import pytest
import transformers
import trl
from transformers import Seq2SeqTrainer, Trainer
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer, SFTTrainer

from heirloom.training.batches.each_row_once import EachRowOnce
from heirloom.training.batches.step_counts import StepCounts
from heirloom.training.losses.generated_evaluation import GeneratedEvaluation
from heirloom.training.losses.held_out_batches import HeldOutBatches
from heirloom.training.losses.router_loss import RouterLoss
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation
from heirloom.training.trainers.kto import PretokenizedKTOTrainer
from heirloom.training.trainers.orpo import ORPOTrainer
from heirloom.training.trainers.pretokenized_trainers import PretokenizedDPOTrainer, PretokenizedSFTTrainer
from heirloom.training.trainers.reward import PretokenizedRewardTrainer
from heirloom.training.trainers.rewarded_trainers import PretokenizedGRPOTrainer, PretokenizedRLOOTrainer

RECORD = Path(__file__).with_name("upstream_contract.json")
STANDING_ON = {
    PretokenizedSFTTrainer: SFTTrainer,
    PretokenizedDPOTrainer: DPOTrainer,
    PretokenizedGRPOTrainer: GRPOTrainer,
    PretokenizedRewardTrainer: RewardTrainer,
    PretokenizedRLOOTrainer: RLOOTrainer,
    PretokenizedKTOTrainer: KTOTrainer,
    ORPOTrainer: Trainer,
    **dict.fromkeys((EachRowOnce, StepCounts, RouterLoss, HeldOutBatches, TokenWeightedEvaluation), Trainer),
    GeneratedEvaluation: Seq2SeqTrainer,
}
"""Our classes and the library's below them; bases of ours count too, `__init__` does not: all hand it on."""
CALLED = (
    "transformers.trainer.Trainer._maybe_log_save_evaluate",
    "transformers.trainer.Trainer._prepare_inputs",
    "transformers.trainer.Trainer._save_checkpoint",
    "transformers.trainer.Trainer.training_step",
    "transformers.trainer_pt_utils.get_length_grouped_indices",
    "trl.trainer.dpo_trainer.DataCollatorForPreference.torch_call",
    "trl.models.utils.unwrap_model_for_generation",
    "trl.trainer.grpo_trainer.GRPOTrainer._calculate_rewards",
    "trl.trainer.grpo_trainer.GRPOTrainer.training_step",
    "trl.trainer.rloo_trainer.RLOOTrainer._calculate_rewards",
    "trl.trainer.rloo_trainer.RLOOTrainer.training_step",
    "trl.trainer.utils.RepeatSampler.__iter__",
    "trl.trainer.kto_trainer.DataCollatorForUnpairedPreference.torch_call",
    "trl.trainer.kto_trainer.KTOTrainer._compute_loss",
    "trl.trainer.reward_trainer.RewardTrainer.compute_loss",
    "trl.trainer.utils.add_fused_lm_head",
    "trl.trainer.utils.split_tensor_dict",
)
"""What we call, or rely on being called in this order, without overriding it."""


def upstream_names() -> dict[str, list[str]]:
    """Return {full name of a function of a library: the classes of ours that stand on it}."""
    names: dict[str, list[str]] = {name: [] for name in CALLED}
    for ours, theirs in STANDING_ON.items():
        own = [kind for kind in ours.__mro__ if kind.__module__.startswith("heirloom.")]
        for kind in own:
            for name, value in vars(kind).items():
                defining = next((base for base in theirs.__mro__ if name in vars(base)), None)
                if inspect.isfunction(value) and not name.startswith("__") and defining is not None:
                    full = f"{defining.__module__}.{defining.__qualname__}.{name}"
                    names.setdefault(full, []).append(kind.__name__)
    return {name: sorted(set(kinds)) for name, kinds in sorted(names.items())}


def function(name: str):
    """Return a function by its full name, `module.function` or `module.Class.function`."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def lines_of(name: str) -> list[str]:
    """Return a function's lines of code, with neither indentation nor comments."""
    lines = (line.strip() for line in inspect.getsource(function(name)).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def marks(lines: list[str]) -> list[str]:
    """Return a short hash of each line: code of other projects is not kept here."""
    return [hashlib.sha256(line.encode()).hexdigest()[:8] for line in lines]


def record() -> dict:
    functions = {name: " ".join(marks(lines_of(name))) for name in upstream_names()}
    return {"transformers": transformers.__version__, "trl": trl.__version__, "functions": functions}


def differences(name: str, recorded: str) -> str:
    """Return what a function has now and had not when it was recorded, "" when nothing changed."""
    known = recorded.split()
    try:
        lines = lines_of(name)
    except AttributeError:
        return "is gone"
    now = marks(lines)
    if now == known:
        return ""
    new = [line for line, mark in zip(lines, now, strict=True) if mark not in known]
    gone = sum(mark not in now for mark in known)
    moved = "" if new or gone else ", the same lines in another order"
    return f"{gone} lines are gone, {len(new)} are new{moved}:" + "".join(f"\n    {line}" for line in new)


def test_what_we_override_is_what_it_was():
    recorded = json.loads(RECORD.read_text())
    names = upstream_names()
    assert names.keys() == recorded["functions"].keys(), "what we override changed: write the record anew"
    changed = []
    for name, kinds in names.items():
        if said := differences(name, recorded["functions"][name]):
            library = name.partition(".")[0]
            versions = f"{recorded[library]} → {importlib.import_module(library).__version__}"
            changed.append(f"{name} ({versions}), under {', '.join(kinds) or 'what calls it'}: {said}")
    assert changed == [], "\n".join(changed)


def test_a_change_is_told_line_by_line(monkeypatch):
    name = "transformers.trainer.Trainer.store_flos"
    old = json.loads(RECORD.read_text())["functions"][name]
    assert differences(name, old) == ""

    def store_flos(self) -> None:
        self.somewhere_else = self.current_flos

    monkeypatch.setattr(Trainer, "store_flos", store_flos)
    assert differences(name, old).endswith(" lines are gone, 1 are new:\n    self.somewhere_else = self.current_flos")
    monkeypatch.delattr(Trainer, "store_flos")
    assert differences(name, old) == "is gone"


@pytest.mark.parametrize("kind", STANDING_ON)
def test_each_class_of_ours_overrides_something(kind):
    bases = {base.__name__ for base in kind.__mro__}
    assert any(bases & set(kinds) for kinds in upstream_names().values())


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(), indent=1) + "\n")
