"""transformers' Trainer on a tiny BERT: its loss, its held-out loss, and masks by epoch, also after an interruption."""

import pytest
import torch
from datasets import load_from_disk
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, Trainer, TrainerCallback, TrainingArguments

from heirloom.training.batches.masked_language_modeling import MaskingCollator, MasksOfEpoch
from heirloom.training.losses.held_out_batches import HeldOutBatches
from heirloom.training.losses.token_mean_loss import loss_function, token_mean_loss
from heirloom.training.losses.token_weighted_evaluation import TokenWeightedEvaluation, token_weighted_metrics

IGNORED = -100


class MaskedTrainer(HeldOutBatches, TokenWeightedEvaluation, Trainer):
    """What train.py builds."""


class SeenEpochs(TrainerCallback):
    """Notes at each step for which epoch the collator masks."""

    def __init__(self, collator):
        self.collator, self.epochs = collator, []

    def on_step_end(self, args, state, control, **kwargs):
        self.epochs.append(int(self.collator.epoch))


@pytest.fixture(scope="module")
def tokenizer(workplace):
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "model")
    tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    return tokenizer


@pytest.fixture
def masked_trainer(workplace, tokenizer, tmp_path):
    def make(rows=24, probability=0.3, dropout=0.1, **arguments) -> MaskedTrainer:
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        chosen = {"learning_rate": 3e-3, "per_device_train_batch_size": 4, "num_train_epochs": 2, "seed": 5}
        model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes))
        args = TrainingArguments(
            str(tmp_path),
            use_cpu=True,
            logging_steps=1,
            save_steps=2,
            report_to="none",
            disable_tqdm=True,
            **{**chosen, **arguments},
        )
        trainer = MaskedTrainer(
            model,
            args=args,
            data_collator=MaskingCollator(tokenizer, probability, seed=7),
            train_dataset=load_from_disk(str(workplace.folder / "text" / "train")).select(range(rows)),
            eval_dataset=load_from_disk(str(workplace.folder / "text" / "test")),
            compute_loss_func=loss_function(model, args),
            compute_metrics=token_weighted_metrics,
        )
        trainer.evaluation_collator = MaskingCollator(tokenizer, probability, seed=7)
        trainer.add_callback(MasksOfEpoch(trainer.data_collator))
        return trainer

    return make


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_loss_is_the_mean_over_the_chosen_tokens_of_a_step_however_it_is_divided(masked_trainer):
    """Compared with transformers' own loss, which is right where all rows of a step are one batch."""
    whole = masked_trainer(dropout=0.0, per_device_train_batch_size=24, max_steps=1)
    (batch,) = whole.get_train_dataloader()
    with torch.no_grad():
        expected = whole.model(**batch).loss.item()
    whole.train()
    divided = masked_trainer(dropout=0.0, per_device_train_batch_size=2, gradient_accumulation_steps=12, max_steps=1)
    divided.train()
    assert losses(whole) == pytest.approx([expected], rel=1e-4)
    assert losses(divided) == pytest.approx([expected], rel=1e-4)
    for one, other in zip(whole.model.parameters(), divided.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_batch_in_which_nothing_was_chosen_does_no_harm(masked_trainer):
    trainer = masked_trainer(rows=16, probability=0.01, per_device_train_batch_size=1)
    batches = list(trainer.get_train_dataloader())
    assert any((batch["labels"] == IGNORED).all() for batch in batches)
    trainer.train()
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
    assert 0.0 in losses(trainer)


def test_label_smoothing_is_that_of_transformers(masked_trainer):
    trainer = masked_trainer(label_smoothing_factor=0.1)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        outputs = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    expected = trainer.label_smoother(outputs, batch["labels"])
    assert trainer.compute_loss(trainer.model.eval(), dict(batch)).item() != token_mean_loss(outputs, batch["labels"])
    smoothed = trainer.compute_loss_func(outputs, batch["labels"])
    assert smoothed.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_held_out_loss_is_over_the_chosen_tokens_with_the_same_masks_each_time(masked_trainer, tokenizer):
    trainer = masked_trainer(max_steps=8)
    before = trainer.evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == before
    trainer.train()
    assert int(trainer.data_collator.epoch) == 1
    rows = list(trainer.eval_dataset)
    batch = MaskingCollator(tokenizer, 0.3, seed=7)(rows)
    labels = batch.pop("labels")
    trainer.model.eval()
    with torch.no_grad():
        logits = trainer.model(**batch).logits
    chosen = labels != IGNORED
    expected = cross_entropy(logits[chosen], labels[chosen]).item()
    after = trainer.evaluate()
    assert after["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert after["eval_loss"] < before


def test_an_interrupted_training_goes_on_with_the_same_masks(masked_trainer, tmp_path):
    """6 steps an epoch: the checkpoint of step 8 lies in the second, that of step 6 at the border."""
    whole = masked_trainer()
    seen = SeenEpochs(whole.data_collator)
    whole.add_callback(seen)
    whole.train()
    assert seen.epochs == [0] * 6 + [1] * 6
    for step in (4, 6, 8):
        resumed = masked_trainer()
        seen = SeenEpochs(resumed.data_collator)
        resumed.add_callback(seen)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert seen.epochs == ([0] * 6 + [1] * 6)[step:]
        for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(one, other)
