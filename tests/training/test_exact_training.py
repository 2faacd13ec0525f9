"""What is trained is what the run says: each row once, each loss once, in weights that small steps can change.

All trainings run in one torchrun on two ranks; numbers of one rank stand here, made by the same trainings on one.
"""

import csv
import dataclasses
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset, load_from_disk
from test_training_mistakes import command
from training_workplace import tree, write_dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_optimizer import _BITSANDBYTES_OPTIMIZERS
from trl.trainer.utils import add_fused_lm_head

import heirloom.rank
from heirloom.config.sections.init import InitSection
from heirloom.config.sections.peft import PeftSection
from heirloom.errors import HeirloomError
from heirloom.models.fresh_models import model_config
from heirloom.models.tokenizer_files import copy_tokenizer
from heirloom.training.batches import each_row_once
from heirloom.training.batches.each_row_once import GroupedByLength
from heirloom.training.inputs import training_data
from heirloom.training.inputs.adapters import with_adapter
from heirloom.training.inputs.base_models import load_model, trained_dtype
from heirloom.training.inputs.training_data import (
    TrainingData,
    check_lengths,
    longest_row,
    table_of_positions,
    token_counts,
)
from heirloom.training.losses.fused_output import check_fused_output
from heirloom.training.preparation import making_trainer
from heirloom.training.training_arguments import trainer_arguments

SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 300, "initializer_range": 0.1, "pad_token_id": 1, "bos_token_id": 1}
ROUTED = {"num_local_experts": 4, "output_router_logits": True, "router_aux_loss_coef": 1.0}
BASES = {
    "experts": ("mixtral", ROUTED),
    "dense-experts": ("mixtral", {**ROUTED, "output_router_logits": False}),
    "dropping": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}),
    "sixteen": ("llama", {"dtype": "bfloat16"}),
    "pegasus": ("pegasus", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "auto": AutoModelForSeq2SeqLM}),
}
ONE_EPOCH = {"num_train_epochs": 1, "global_batch_size": 4, "per_device_train_batch_size": 2, "learning_rate": 3e-3}
TWO_STEPS = {"max_steps": 2, "global_batch_size": 8, "per_device_train_batch_size": 2, "learning_rate": 3e-3}
GROUPED = {**ONE_EPOCH, "train_sampling_strategy": "group_by_length"}
# name: (script, dataset, base, deepspeed, training)
TRAININGS = {
    "five-chats": ("sft_train.py", "five-chat", "model", "zero2", ONE_EPOCH),
    "five-texts": ("train.py", "five-text", "model", None, ONE_EPOCH),
    "dropping-rows": ("train.py", "five-text", "model", None, {**ONE_EPOCH, "dataloader_drop_last": True}),
    "experts": ("train.py", "chat", "experts", "zero2", TWO_STEPS),
    "experts-by-trl": ("sft_train.py", "chat", "experts", "zero2", TWO_STEPS),
    "dense-experts": ("sft_train.py", "chat", "dense-experts", None, {**TWO_STEPS, "max_steps": 1}),
    "sixteen": ("train.py", "chat", "sixteen", None, {**TWO_STEPS, "learning_rate": 1e-5, "bf16": True}),
    "refused": ("train.py", "chat", "pegasus", "zero3", TWO_STEPS),
    "grouped": ("sft_train.py", "forty-chat", "dropping", None, GROUPED),
}


def make_base(folder, workplace, model_type, *, dtype="float32", auto=AutoModelForCausalLM, **keys):
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**SIZES, **keys})
    auto.from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder)
    copy_tokenizer(workplace.folder / "tokenizer", folder)
    return folder


@pytest.fixture(scope="module")
def trained(workplace):
    """Run all trainings; the one that groups rows is also stopped in the middle of its epoch and taken up."""
    for name, (model_type, keys) in BASES.items():
        make_base(workplace.folder / name, workplace, model_type, **keys)
    for count, word, kind in ((5, "five", "chat"), (5, "five", "text"), (40, "forty", "chat")):
        rows = {split: load_from_disk(str(workplace.folder / kind / split)).to_list() for split in ("train", "test")}
        write_dataset(workplace.folder / f"{word}-{kind}", kind, rows["train"][:count], rows["test"])
    jobs = [job(workplace, name, f"exact/{name}") for name in TRAININGS]
    again = job(workplace, "grouped", "again/grouped", tracking={"save_steps": 3})
    said = workplace.torchrun("many_trainings.py", [*jobs, {**again, "stop_at": 5}, again])
    assert said.count("resuming from checkpoint-3") == 1
    (workplace.folder / "exact" / "said.txt").write_text(said)
    return workplace.folder / "exact"


def job(workplace, name, place, **more):
    script, dataset, base, zero, training = TRAININGS[name]
    more |= {"dataset": dataset, "base": base, "training": training, "zero": zero or "zero2"}
    arguments = workplace.training(script, place, **more)[1:]
    at = arguments.index("--deepspeed")
    return {"arguments": arguments if zero else arguments[:at] + arguments[at + 2 :]}


def losses(folder):
    with (folder / "loss.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


ON_ONE_RANK = {"five-chats": [5.6576, 5.13801], "five-texts": [5.70421, 5.29332]}


@pytest.mark.parametrize(("name", "on_one_rank"), ON_ONE_RANK.items())
def test_rows_that_fill_up_an_epoch_are_not_trained_on(trained, name, on_one_rank):
    assert losses(trained / name) == pytest.approx(on_one_rank, abs=2e-5)


def test_dropping_rows_drops_no_held_out_ones(trained):
    dropped, whole = (
        json.loads((trained / name / "metrics.json").read_text()) for name in ("dropping-rows", "five-texts")
    )
    assert dropped["before"] == whole["before"]
    assert (dropped["train"]["steps"], whole["train"]["steps"]) == (1, 2)


def test_a_routers_loss_counts_once_as_in_trl(trained):
    assert losses(trained / "experts") == pytest.approx(losses(trained / "experts-by-trl"), abs=2e-5)


def test_what_trl_sets_for_experts_is_not_saved(trained):
    config = json.loads((trained / "dense-experts" / "checkpoint" / "config.json").read_text())
    assert (config["output_router_logits"], config["router_aux_loss_coef"]) == (False, 1.0)


def test_a_model_that_zero3_cannot_load_is_told_to_take_another_stage(trained):
    refusal = ": refused: pegasus: cannot be loaded for training under ZeRO-3 (if another stage loads it, use that): "
    assert (trained / "said.txt").read_text().count(refusal) == 2  # ranks, whose lines may run into each other


def test_a_base_of_sixteen_bits_learns_at_usual_rates(trained, workplace):
    before = AutoModelForCausalLM.from_pretrained(workplace.folder / "sixteen", dtype=torch.float32).state_dict()
    after = AutoModelForCausalLM.from_pretrained(trained / "sixteen" / "checkpoint").state_dict()
    changed = sum(int((weight != before[name]).sum()) for name, weight in after.items())
    assert changed > 0.7 * sum(weight.numel() for weight in after.values())  # 2 % without float32


def test_grouping_by_length_goes_on_after_an_interruption_with_the_same_bytes(trained, workplace):
    assert tree(trained / "grouped") == tree(workplace.folder / "again" / "grouped")


def test_rows_grouped_by_length_come_once_an_epoch_whatever_a_rank_draws(monkeypatch):
    class Waiting:
        """As much of a trainer as an order depends on."""

        def __init__(self, accumulation, epoch):
            self.args = TrainingArguments(per_device_train_batch_size=2, gradient_accumulation_steps=accumulation)
            self.state = TrainerState(epoch=epoch)

    lengths = [(7 * row) % 31 + 1 for row in range(41)]

    def order(ranks, accumulation, epoch):
        torch.rand(ranks)  # as dropout draws
        monkeypatch.setattr(each_row_once, "world_size", lambda: ranks)
        return list(GroupedByLength(lengths, Waiting(accumulation, epoch)))

    first = order(1, 4, None)
    assert sorted(first) == list(range(41)) and first != list(range(41))
    assert first == order(2, 2, 0.0) == order(4, 1, 0.6)
    assert order(2, 2, 1.0) != first and order(2, 2, 1.0) == order(1, 4, 1.4)


def test_rows_that_make_no_batch_are_told(monkeypatch):
    monkeypatch.setattr(each_row_once, "world_size", lambda: 2)
    args = TrainingArguments(per_device_train_batch_size=4, dataloader_drop_last=True)
    each_row_once.check_steps(SimpleNamespace(args=args, train_dataset=range(8)))
    with pytest.raises(HeirloomError, match="7 rows make no whole batch of 8 .* so nothing would be trained: delete"):
        each_row_once.check_steps(SimpleNamespace(args=args, train_dataset=range(7)))


@pytest.mark.parametrize(
    ("saved", "wanted", "stage", "mixed", "adapter", "loaded"),
    [
        ("bfloat16", "auto", 0, True, False, "float32"),
        ("bfloat16", "auto", 2, True, False, "auto"),  # DeepSpeed keeps a copy in float32
        ("bfloat16", "auto", 3, False, False, "float32"),
        ("bfloat16", "auto", 0, True, True, "auto"),  # the base stands still
        ("float32", "auto", 0, True, False, "auto"),
        ("float16", "auto", 0, False, False, "float32"),
        ("float32", "bfloat16", 0, True, False, "bfloat16"),  # obeyed, with a warning
        ("float32", "bfloat16", 1, False, False, "bfloat16"),
    ],
)
def test_the_type_in_which_a_base_is_trained(tmp_path, capsys, saved, wanted, stage, mixed, adapter, loaded):
    (tmp_path / "config.json").write_text(json.dumps({"dtype": saved}))
    (tmp_path / "deepspeed.json").write_text(json.dumps({"zero_optimization": {"stage": stage}}))
    section = SimpleNamespace(default_dtype=wanted, passed_through={"bf16": mixed})
    deepspeed = tmp_path / "deepspeed.json" if stage else None
    given = SimpleNamespace(
        training=section, base=tmp_path, peft=PeftSection() if adapter else None, deepspeed=deepspeed
    )
    assert trained_dtype(given) == loaded
    assert ("warning: training.default_dtype" in capsys.readouterr().out) == (wanted == "bfloat16" and stage == 0)


def test_an_adapter_that_peft_refuses_is_told_in_a_sentence():
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 300, "state_size": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes))
    with pytest.raises(HeirloomError, match=r"this run cannot be trained: .*out_proj"), making_trainer():
        with_adapter(model, PeftSection(), TrainingArguments(use_cpu=True))


@pytest.mark.parametrize("name", _BITSANDBYTES_OPTIMIZERS)
def test_a_library_that_an_optimizer_needs_is_not_left_out(tmp_path, monkeypatch, name):
    (tmp_path / "run.yaml").write_text(f"training: {{optim: {name.value}}}")
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "run.yaml"])
    monkeypatch.chdir(tmp_path)
    assert "bitsandbytes" not in heirloom.rank.unused()


FUSED = {
    "llama": {}, "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2}, "gemma2": {"head_dim": 16},
    "cohere": {}, "granite": {}, "mixtral": {"num_local_experts": 2},
    "recurrent_gemma": {"lru_width": 32, "num_hidden_layers": 3},
    "modernbert-decoder": {"cls_token_id": 1, "sep_token_id": 1},
    "bert": {"is_decoder": True}, "roberta": {"is_decoder": True},
}  # fmt: skip


@pytest.mark.parametrize("model_type", FUSED)
def test_log_probabilities_that_trl_computes_otherwise_are_refused(model_type):
    """Those that are taken are right by the model's own logits, also where it has learned to be sure."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**SIZES, **FUSED[model_type]})
    model = AutoModelForCausalLM.from_config(config)
    add_fused_lm_head(model)
    args = TrainingArguments(use_cpu=True)
    if model_type in ("recurrent_gemma", "modernbert-decoder", "bert", "roberta"):
        with pytest.raises(HeirloomError, match=rf"\({model_type}\).* use trainer: trainer or seq2seq"):
            check_fused_output(model, args)
    else:
        check_fused_output(model, args)


@pytest.mark.parametrize(
    ("keys", "adapted", "dtype"),
    [
        ({}, False, torch.float32),
        ({"bf16": True}, False, torch.float32),  # mixed precision wants weights in float32
        ({}, True, torch.bfloat16),  # an adapter has weights of its own, in float32
        ({"default_dtype": "bfloat16"}, False, torch.bfloat16),
    ],
)
def test_whole_weights_are_trained_in_float32_unless_the_run_says_otherwise(
    workplace, trained, tmp_path, capsys, keys, adapted, dtype
):
    peft = PeftSection() if adapted else None
    asked = dataclasses.replace(command(tmp_path, **keys), base=workplace.folder / "sixteen", peft=peft)
    assert load_model(asked).dtype == dtype
    said = capsys.readouterr().out
    assert ("is saved in bfloat16 and trained in float32" in said) == (dtype == torch.float32)
    assert ("small steps are lost: set float32" in said) == ("default_dtype" in keys)


def test_a_base_that_was_saved_quantized_is_refused(workplace, tmp_path):
    base = shutil.copytree(workplace.folder / "model", tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    asked = dataclasses.replace(command(tmp_path), base=base)
    with pytest.raises(HeirloomError, match="was saved quantized, .* use the base in its own precision"):
        load_model(asked)


def test_lengths_of_rows_are_counted_over_pieces_of_the_table(monkeypatch):
    monkeypatch.setattr(training_data, "ROWS_AT_A_TIME", 2)
    rows = Dataset.from_list([{"input_ids": [5] * length, "labels": [5] * (9 - length)} for length in (3, 0, 7, 1, 5)])
    assert token_counts(rows.select([4, 1, 2]), "input_ids").tolist() == [5, 0, 7] and longest_row(rows) == 9
    assert token_counts(rows.select([]), "input_ids").tolist() == []
    lengths = {"prompt_ids": (3, 6), "chosen_ids": (1, 1), "rejected_ids": (6, 0)}
    pairs = Dataset.from_dict({name: [[5] * length for length in each] for name, each in lengths.items()})
    assert longest_row(pairs) == 9


@pytest.mark.parametrize(
    ("model_type", "keys", "positions"),
    [
        ("gpt2", {"n_positions": 40}, 40),
        ("opt", {"max_position_embeddings": 40, "ffn_dim": 32, "word_embed_proj_dim": 32}, 40),
        ("roberta", {"max_position_embeddings": 42}, 40),
        ("bert", {"max_position_embeddings": 40}, 40),
        ("llama", {"max_position_embeddings": 40}, None),
    ],
)
def test_rows_longer_than_a_table_of_positions_are_refused(tmp_path, model_type, keys, positions):
    auto = AutoModelForMaskedLM if model_type in ("roberta", "bert") else AutoModelForCausalLM
    small = SIZES if model_type != "gpt2" else {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 300}
    model = auto.from_config(AutoConfig.for_model(model_type, **{**small, **keys}))
    assert table_of_positions(model) == positions
    write_dataset(tmp_path, "text", [{"input_ids": [5] * 41}], [{"input_ids": [5] * 40}])
    train, test = (load_from_disk(str(tmp_path / split)) for split in ("train", "test"))
    check_lengths(TrainingData("text", 64, train=test, test=test), model, tmp_path, None)
    if positions is not None:
        with pytest.raises(HeirloomError, match=r"has 40 positions .* row has 41 tokens: lower processing"):
            check_lengths(TrainingData("text", 64, train=test, test=train), model, tmp_path, None)
        with pytest.raises(HeirloomError, match=r"longest row has 64 tokens: lower training.seq_length"):
            check_lengths(TrainingData("text", 16, train=test, test=None), model, tmp_path, 64)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"optim": "galore_adamw", "optim_target_modules": ["q_proj"]},
            "galore_adamw: You need to install",
        ),
        ({"optim": "lomo"}, "training.optim: lomo: You need to install"),
        ({"optim": "stable_adamw"}, "training.optim: stable_adamw: You need to install"),
        ({"activation_offloading": True}, "training.activation_offloading needs a GPU"),
    ],
)
def test_what_is_not_installed_here_is_told_before_a_model_is_loaded(tmp_path, keys, said):
    from trl import SFTConfig

    with pytest.raises(HeirloomError, match=said):
        trainer_arguments(SFTConfig, command(tmp_path, **keys), TrainingData("chat", 64, train=None, test=None))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"model_type": "gemma3"}, r"keeps a vocabulary of 262,208 in text_config, .* use model_type gemma3_text"),
        ({"model_type": "t5gemma"}, r"keeps a vocabulary of 256,000 in encoder, which is not filled"),
        ({"model_type": "cwm"}, "init: cwm cannot be made with these keys and this tokenizer: .* give the tokenizer"),
        ({"model_type": "musicgen"}, "keeps a vocabulary of 32,128 in text_encoder, .* use another"),
    ],
)
def test_models_that_a_tokenizer_does_not_fill_are_refused(workplace, section, said):
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "tokenizer")
    with pytest.raises(HeirloomError, match=said):
        model_config(InitSection.model_validate(section), tokenizer)


def test_a_width_of_heads_that_only_the_models_code_reads_is_taken(workplace):
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "tokenizer")
    section = InitSection.model_validate({"model_type": "qwen3_moe", "head_dim": 128})
    assert model_config(section, tokenizer).head_dim == 128
