"""The trainers train on the rows as they are; DPO's batches equal those that TRL makes from the texts."""

import pytest
import torch
from datasets import Dataset, load_from_disk
from training_workplace import preference_texts
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig

from heirloom.training.batches.collators import CausalCollator
from heirloom.training.inputs.training_data import TrainingData, copied_rows
from heirloom.training.trainers.pretokenized_trainers import (
    SKIP_PREPARATION,
    PretokenizedDPOTrainer,
    PretokenizedSFTTrainer,
)


@pytest.fixture
def base(workplace):
    folder = workplace.folder / "model"
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def arguments(kind, folder, **own):
    common = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 8, "seed": 5, "report_to": "none"}
    return kind(output_dir=str(folder), max_length=None, disable_tqdm=True, **common, **own)


def test_dpo_trains_on_the_batches_that_trl_makes_of_the_texts(workplace, base, tmp_path):
    model, tokenizer = base
    texts = Dataset.from_list(preference_texts()[:149])  # what the workplace's train split was made of
    upstream = DPOTrainer(
        model, args=arguments(DPOConfig, tmp_path / "a"), train_dataset=texts, processing_class=tokenizer
    )
    ours = PretokenizedDPOTrainer(
        model,
        args=arguments(DPOConfig, tmp_path / "b"),
        train_dataset=load_from_disk(str(workplace.folder / "preference" / "train")),
        processing_class=tokenizer,
    )
    batches = list(zip(upstream.get_train_dataloader(), ours.get_train_dataloader(), strict=True))
    assert len(batches) == 19
    for expected, batch in batches:
        assert expected.keys() == batch.keys()
        assert all(torch.equal(expected[name], batch[name]) for name in expected)
    assert upstream.compute_loss(model, batches[0][0]).item() == ours.compute_loss(model, batches[0][1]).item()


def test_sft_takes_input_ids_and_labels_as_they_are(base, tmp_path):
    """Labels that no template would give (every third token) reach the loss unchanged, rows are not cut."""
    model, tokenizer = base
    rows = []
    for length in (5, 40, 17, 60):
        ids = [(number * 7) % 290 for number in range(length)]
        rows.append({"input_ids": ids, "labels": [token if token % 3 == 0 else -100 for token in ids]})
    trainer = PretokenizedSFTTrainer(
        model,
        args=arguments(SFTConfig, tmp_path, dataset_kwargs=SKIP_PREPARATION),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    found = {}
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        length = int(mask.sum())
        assert (labels[length:] == -100).all()
        found[length] = (ids[:length].tolist(), labels[:length].tolist())
    assert found == {len(row["input_ids"]): (row["input_ids"], row["labels"]) for row in rows}
    plain = CausalCollator(tokenizer.pad_token_id)(rows)
    order = batch["attention_mask"].sum(1).tolist()
    for name in ("input_ids", "labels", "attention_mask"):
        by_length = {int(mask.sum()): row for row, mask in zip(plain[name], plain["attention_mask"], strict=True)}
        assert torch.equal(batch[name], torch.stack([by_length[length] for length in order]))


def test_reference_log_probabilities_ahead_of_training_leave_the_dataset_alone(workplace, base, tmp_path):
    """TRL writes them beside the rows that it reads, so it gets a copy; an artifact must not change."""
    model, tokenizer = base
    source = workplace.folder / "preference"
    before = sorted(source.rglob("*"))
    data = TrainingData("preference", 64, load_from_disk(str(source / "train")), load_from_disk(str(source / "test")))
    copies = copied_rows(data, tmp_path)
    trainer = PretokenizedDPOTrainer(
        model,
        args=arguments(DPOConfig, tmp_path, precompute_ref_log_probs=True),
        train_dataset=copies.train,
        eval_dataset=copies.test,
        processing_class=tokenizer,
    )
    assert "ref_chosen_logps" in trainer.train_dataset.column_names
    assert sorted(source.rglob("*")) == before
