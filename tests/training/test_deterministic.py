"""`deterministic: true`: nothing else is learnt, and what does not repeat its results is refused in a sentence."""

import pytest
import torch
from training_workplace import TRAINING, tree
from transformers import Trainer, TrainingArguments

from heirloom.errors import HeirloomError
from heirloom.failures import sentence_of
from heirloom.inference.engine_check import check_repeated
from heirloom.training.gradient_check import check_first_gradients


def test_a_deterministic_training_says_so_and_learns_what_another_learns(workplace):
    """At ZeRO-3, where gradients are computed from weights that are gathered layer by layer."""
    found = {}
    for name, key in (("plain", {}), ("deterministic", {"deterministic": True})):
        words = workplace.training(
            "sft_train.py",
            name,
            zero="zero3",
            dataset="chat",
            base="model",
            training={**TRAINING, "max_steps": 2, **key},
        )
        said = workplace.launch(*words).stdout
        assert ("the same gradients twice, to the last bit" in said) is bool(key)
        found[name] = tree(workplace.folder / name)
    for file in ("checkpoint/model.safetensors", "loss.csv", "metrics.json"):
        assert found["plain"][file] == found["deterministic"][file]


class Drifting(torch.nn.Module):
    """A model with a kernel that adds something else each time, which torch cannot know."""

    def __init__(self, drift: float) -> None:
        super().__init__()
        self.steady, self.drifting = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
        self.drift, self.drawn = drift, torch.Generator().manual_seed(0)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # (B, 4) → loss
        noise = 1 + self.drift * torch.rand(1, generator=self.drawn)
        dropped = torch.nn.functional.dropout(self.steady(x), training=self.training)
        return {"loss": (dropped + noise * self.drifting(x)).mean()}


@pytest.mark.parametrize("drift", [0.0, 1e-3])
def test_gradients_that_differ_the_second_time_end_the_training_before_a_weight_moves(tmp_path, drift):
    torch.manual_seed(0)
    model = Drifting(drift)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    args = TrainingArguments(str(tmp_path), use_cpu=True, max_steps=1, report_to="none", disable_tqdm=True)
    trainer = Trainer(model, args, train_dataset=[{"x": [1.0, 2.0, 3.0, 4.0]}] * 8)
    check_first_gradients(trainer)
    if not drift:  # dropout draws the same both times
        trainer.train()
        assert not torch.equal(model.steady.weight, before["steady.weight"])
        return
    with pytest.raises(HeirloomError, match=r"on rank 0 the gradients of drifting\.(weight|bias) differ"):
        trainer.train()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_an_operation_without_a_deterministic_form_is_named():
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError) as raised:
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    finally:
        torch.use_deterministic_algorithms(False)
    assert "put_ has no deterministic form in this torch" in sentence_of(raised.value)


def test_answers_that_differ_the_second_time_are_refused():
    row = {"completion": "yes", "logprob": -1.25}
    check_repeated([row], [dict(row)])
    with pytest.raises(HeirloomError, match=r"1 of the first 2 answers differ"):
        check_repeated([row, row], [row, row | {"logprob": -1.2500001}])
