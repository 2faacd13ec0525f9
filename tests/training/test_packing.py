"""Packed rows hold every token once, and train what separate rows do: no document looks into another."""

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from datasets import Dataset, load_from_disk
from training_workplace import tree
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    LlamaConfig,
    OPTConfig,
    Qwen3Config,
)
from trl import SFTConfig

from heirloom.errors import HeirloomError
from heirloom.training.batches import packing
from heirloom.training.batches.collators import CausalCollator
from heirloom.training.batches.document_isolation import check_documents_stay_apart
from heirloom.training.batches.packed_rows import read_packed_rows, write_packed_rows
from heirloom.training.batches.packing import joined_data, packed_data
from heirloom.training.inputs.training_data import TrainingData, load_training_data
from heirloom.training.losses.token_weighted_evaluation import token_weighted_metrics
from heirloom.training.trainers.pretokenized_trainers import SKIP_PREPARATION, PretokenizedSFTTrainer

IGNORED = -100
STRATEGIES = ("bfd", "bfd_split", "wrapped")
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDER = SIZES | {"intermediate_size": 64, "num_key_value_heads": 1}
CONFIGS = {
    "llama": LlamaConfig(**WIDER, max_position_embeddings=128),
    "qwen3": Qwen3Config(**WIDER, head_dim=16, max_position_embeddings=128),
    "opt": OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=256),
    "bloom": BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2),
}


@pytest.fixture(scope="module")
def chat(workplace) -> TrainingData:
    return load_training_data(workplace.folder / "chat", kinds=("chat",))


@pytest.fixture(scope="module")
def tokenizer(workplace):
    return AutoTokenizer.from_pretrained(workplace.folder / "model")


@pytest.fixture(params=[7, 10_000])
def rows_at_a_time(request, monkeypatch):
    """Few rows at a time, so that packing goes over many borders, and all of them."""
    monkeypatch.setattr(packing, "ROWS_AT_A_TIME", request.param)


def tiny(name, attention="sdpa"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation=attention).eval()


def documents(rows):
    """Return (input_ids, labels) of each document of packed rows."""
    found = []
    for row in rows:
        assert sum(row["seq_lengths"]) == len(row["input_ids"]) == len(row["labels"])
        for start, end in pairwise(accumulate(row["seq_lengths"], initial=0)):
            found.append((row["input_ids"][start:end], row["labels"][start:end]))
    return found


def pieces(rows, length):
    """Return (input_ids, labels) of each row, cut to `length`."""
    return [
        (row["input_ids"][start : start + length], row["labels"][start : start + length])
        for row in rows
        for start in range(0, len(row["input_ids"]), length)
    ]


def counted(documents):
    return Counter((tuple(ids), tuple(labels)) for ids, labels in documents)


@pytest.mark.parametrize("seq_length", [48, 100])
def test_bfd_keeps_every_document_whole(chat, tmp_path, rows_at_a_time, seq_length):
    packed = packed_data(chat, seq_length, "bfd", tmp_path)
    assert max(map(len, packed.train["input_ids"])) <= seq_length
    assert counted(documents(packed.train)) == counted(pieces(chat.train, 1000))
    assert len(packed.train) < len(chat.train)
    assert packed.test is chat.test


def test_bfd_split_cuts_long_documents_and_loses_nothing(chat, tmp_path, rows_at_a_time):
    assert max(map(len, chat.train["input_ids"])) > 16
    packed = packed_data(chat, 16, "bfd_split", tmp_path)
    assert max(map(len, packed.train["input_ids"])) <= 16
    assert counted(documents(packed.train)) == counted(pieces(chat.train, 16))


@pytest.mark.parametrize("seq_length", [16, 100])
def test_wrapped_fills_every_row_in_order(chat, tmp_path, rows_at_a_time, seq_length):
    packed = packed_data(chat, seq_length, "wrapped", tmp_path).train
    *full, last = map(len, packed["input_ids"])
    assert set(full) == {seq_length} and 0 < last <= seq_length
    for column in ("input_ids", "labels"):
        assert sum(packed[column], []) == sum(chat.train[column], [])
    ends = set(accumulate(sum(packed["seq_lengths"], [])))
    documents_end = set(accumulate(map(len, chat.train["input_ids"])))
    assert ends == documents_end | set(range(seq_length, max(ends), seq_length))


def test_empty_rows_are_no_documents(tmp_path):
    lengths = [0, 3, 0, 0, 5, 4, 0]
    rows = Dataset.from_dict({"input_ids": [list(range(length)) for length in lengths]})
    data = TrainingData("text", 8, train=rows, test=None)
    for strategy in STRATEGIES:
        packed = packed_data(data, 8, strategy, tmp_path).train
        assert sorted(sum(packed["seq_lengths"], [])) == [3, 4, 5]
    assert packed["seq_lengths"][:] == [[3, 5], [4]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_packing_says_one_line(chat, tmp_path, capfd, strategy):
    """And draws no progress bars, which would fill a log."""
    packed_data(chat, 64, strategy, tmp_path)
    said = capfd.readouterr()
    assert said.out.startswith("packed 149 rows into ") and said.out.count("\n") == 1 and not said.err


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_packing_again_gives_the_same_rows_and_leaves_the_dataset_alone(workplace, chat, tmp_path, strategy):
    before = tree(workplace.folder / "chat")
    first = packed_data(chat, 64, strategy, tmp_path / "a").train
    again = packed_data(chat, 64, strategy, tmp_path / "a").train  # as a start after an interruption does
    other = packed_data(chat, 64, strategy, tmp_path / "b").train
    assert first[:] == again[:] == other[:]
    assert tree(workplace.folder / "chat") == before
    assert list(tree(tmp_path)) == ["a/rows/packed-train.arrow", "b/rows/packed-train.arrow"]


def test_rows_that_bfd_would_cut_are_refused(chat, tmp_path):
    lengths = list(map(len, chat.train["input_ids"]))
    limit = sorted(lengths)[len(lengths) // 2]
    too_long = sum(length > limit for length in lengths)
    assert too_long > 1
    with pytest.raises(HeirloomError) as refused:
        packed_data(chat, limit, "bfd", tmp_path)
    assert str(refused.value) == (
        f"training.seq_length is {limit}, and {too_long} of {len(lengths)} rows are longer, up to {max(lengths)} "
        f"tokens: make it at least {max(lengths)}, or cut them with training.packing_strategy: bfd_split"
    )


def test_rows_that_are_filled_up_are_refused(tmp_path):
    rows = Dataset.from_list([{"input_ids": [1, 2, 0], "labels": [1, 2, IGNORED], "attention_mask": [1, 1, 0]}])
    data = TrainingData("chat", 3, train=rows, test=rows)
    for key, pack in (("packing", partial(packed_data, strategy="bfd")), ("seq_length", joined_data)):
        with pytest.raises(HeirloomError, match=rf"^training\.{key}: rows .* delete processing\.padding in"):
            pack(data, seq_length=8, work=tmp_path)


def sft_trainer(model, tokenizer, data, folder, **arguments):
    """Return the trainer that sft_train.py builds."""
    args = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        seed=5,
        max_length=None,
        dataset_kwargs=SKIP_PREPARATION,
        gradient_checkpointing=False,
        per_device_eval_batch_size=8,
        **{"per_device_train_batch_size": 4, **arguments},
    )
    collator = CausalCollator(tokenizer.pad_token_id)
    trainer = PretokenizedSFTTrainer(
        model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.test,
        data_collator=None if args.padding_free else collator,
        processing_class=tokenizer,
        compute_metrics=token_weighted_metrics,
    )
    trainer.evaluation_collator = collator
    return trainer


def packed_trainer(model, tokenizer, chat, folder, strategy="bfd", **arguments):
    data = packed_data(chat, 100, strategy, folder)
    options = {"packing": True, "packing_strategy": strategy, "padding_free": True, **arguments}
    return sft_trainer(model, tokenizer, data, folder, **options)


def separate_documents(batch):
    """Return the rows (input_ids, labels) that a padding-free batch is made of, found by its position ids."""
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], batch["position_ids"].shape[1]]
    return [
        {name: batch[name][0, start:end].tolist() for name in ("input_ids", "labels")}
        for start, end in zip(starts, ends, strict=True)
    ]


def logits_of(model, **inputs):
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_packed_documents_have_the_logits_and_the_loss_of_separate_ones(chat, tokenizer, tmp_path, name, attention):
    """On the very batches of training; a mask of ones, which a padding collator would give, mixes them up."""
    model = tiny(name, attention)
    trainer = packed_trainer(model, tokenizer, chat, tmp_path, pad_to_multiple_of=8)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape[0] == 1 and batch["input_ids"].shape[1] % 8 == 0
    assert "attention_mask" not in batch
    rows = separate_documents(batch)
    assert len(rows) > 8
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    packed = logits_of(model, **inputs)[0]  # (N, V)
    separate = torch.cat([logits_of(model, input_ids=torch.tensor([row["input_ids"]]))[0] for row in rows])
    torch.testing.assert_close(packed, separate, atol=1e-5, rtol=1e-4)

    mixed = logits_of(model, **inputs, attention_mask=torch.ones_like(batch["input_ids"]))[0]
    first, spread = len(rows[0]["input_ids"]), float(separate.std())
    torch.testing.assert_close(mixed[:first], separate[:first], atol=1e-5, rtol=1e-4)
    assert float((mixed[first:] - separate[first:]).abs().max()) > 0.1 * spread

    one_by_one = CausalCollator(tokenizer.pad_token_id)(rows)
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        expected = trainer.compute_loss(model, one_by_one)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_a_step_on_packed_rows_has_the_gradient_of_one_on_their_documents(chat, tokenizer, tmp_path, strategy):
    """Also padding-free without packing; each document's first token has nothing before it that predicts it."""
    model = tiny("llama")
    if strategy:
        trainer = packed_trainer(model, tokenizer, chat, tmp_path, strategy)
    else:
        trainer = sft_trainer(model, tokenizer, chat, tmp_path, padding_free=True)
    batch = next(iter(trainer.get_train_dataloader()))
    rows = separate_documents(batch)
    gradients = []
    for inputs in (dict(batch), CausalCollator(tokenizer.pad_token_id)(rows)):
        model.zero_grad()
        trainer.compute_loss(model, inputs).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for packed, separate in zip(*gradients, strict=True):
        torch.testing.assert_close(packed, separate, atol=1e-6, rtol=1e-4)
    known = counted(pieces(trainer.train_dataset, 1000) if strategy is None else documents(trainer.train_dataset))
    masked_first = Counter(
        (ids, (IGNORED, *labels[1:])) for (ids, labels), count in known.items() for _ in range(count)
    )
    assert counted((row["input_ids"], row["labels"]) for row in rows) <= masked_first


def test_held_out_rows_are_measured_one_by_one_whatever_the_training_packs(chat, tokenizer, tmp_path):
    model = tiny("llama")
    packed = packed_trainer(model, tokenizer, chat, tmp_path)
    assert packed.evaluate()["eval_loss"] == sft_trainer(model, tokenizer, chat, tmp_path).evaluate()["eval_loss"]
    batch = next(iter(packed.get_train_dataloader()))
    assert "position_ids" in batch  # measuring has given the training its collator back


@pytest.mark.parametrize("name", ["opt", "bloom"])
def test_a_model_that_looks_into_other_documents_is_refused_at_the_first_step(chat, tokenizer, tmp_path, name):
    model = tiny(name, "eager")
    before = [parameter.clone() for parameter in model.parameters()]
    trainer = packed_trainer(model, tokenizer, chat, tmp_path, max_steps=2)
    with pytest.raises(HeirloomError) as refused:
        trainer.train()
    assert str(refused.value).startswith(
        f"training.packing: {type(model).__name__} looks from one packed document into the next, so packed rows would "
        "not train what separate ones do: delete packing and padding_free, or choose a base whose architecture "
    )
    assert all(map(torch.equal, before, model.parameters()))
    plain = sft_trainer(tiny(name, "eager"), tokenizer, chat, tmp_path, max_steps=1)
    assert plain.train().global_step == 1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_models_that_keep_documents_apart_pass_unchanged(chat, tokenizer, tmp_path, name, attention):
    model = tiny(name, attention).train()
    trainer = packed_trainer(model, tokenizer, chat, tmp_path)
    state = torch.get_rng_state()
    check_documents_stay_apart(model, trainer.data_collator, torch.device("cpu"))
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_documents_are_checked_once_and_training_goes_on(chat, tokenizer, tmp_path):
    trainer = packed_trainer(tiny("llama"), tokenizer, chat, tmp_path, max_steps=2)
    assert not trainer.documents_checked
    assert trainer.train().global_step == 2
    assert trainer.documents_checked


@pytest.mark.parametrize("strategy", [*STRATEGIES, "joined"])
def test_rows_that_were_packed_before_are_those_that_a_training_packs(chat, tmp_path, strategy):
    (tmp_path / "ready").mkdir()
    counts = write_packed_rows(chat, strategy, 64, tmp_path / "ready")
    ready = read_packed_rows(chat, strategy, 64, tmp_path / "ready")
    own = joined_data(chat, 64, tmp_path) if strategy == "joined" else packed_data(chat, 64, strategy, tmp_path)
    assert ready.train[:] == own.train[:] and ready.test[:] == own.test[:]
    assert counts["train"]["rows_out"] == len(own.train) and counts["train"]["longest_row"] <= 64
    assert counts["train"]["tokens"] == sum(map(len, own.train["input_ids"]))
    assert counts.keys() == ({"train", "test"} if strategy == "joined" else {"train"})


def test_rows_that_were_packed_in_another_way_or_from_other_rows_are_refused(chat, tmp_path):
    write_packed_rows(chat, "bfd", 64, tmp_path)
    for strategy, length in (("wrapped", 64), ("bfd", 48)):
        with pytest.raises(
            HeirloomError, match=f"its rows are bfd, of 64 tokens, and .* asks for {strategy}, of {length}"
        ):
            read_packed_rows(chat, strategy, length, tmp_path)
    ids = chat.train["input_ids"][:]
    ids[-1] = [*ids[-1][:-1], ids[-1][-1] + 1]
    others = replace(chat, train=Dataset.from_dict({"input_ids": ids, "labels": chat.train["labels"][:]}))
    with pytest.raises(HeirloomError, match="was made from other train rows than the dataset's: pack them by"):
        read_packed_rows(others, "bfd", 64, tmp_path)
    (tmp_path / "train.arrow").write_bytes(b"cut")
    with pytest.raises(HeirloomError, match="train.arrow: cannot be read"):
        read_packed_rows(chat, "bfd", 64, tmp_path)


@pytest.mark.parametrize("seq_length", [10, 32, 100])
def test_joined_rows_have_exactly_seq_length_tokens(workplace, tmp_path, rows_at_a_time, capsys, seq_length):
    text = load_training_data(workplace.folder / "text", kinds=("text",))
    joined, said = joined_data(text, seq_length, tmp_path), capsys.readouterr().out
    for split, rest_stays in (("train", False), ("test", True)):
        source, rows = getattr(text, split), getattr(joined, split)
        assert rows.column_names == ["input_ids"]
        tokens = sum(source["input_ids"], [])
        rest = len(tokens) % seq_length
        expected = [seq_length] * (len(tokens) // seq_length) + [rest] * (rest_stays and rest > 0)
        assert list(map(len, rows["input_ids"])) == expected
        assert sum(rows["input_ids"], []) == tokens[: sum(expected)]
        left = f", {rest} tokens at the end fill no row and are left out" if rest and not rest_stays else ""
        assert f"joined {len(source):,} rows into {len(rows):,} of {seq_length} tokens{left}\n" in said


def test_joined_labels_stay_beside_their_tokens(chat, tmp_path, rows_at_a_time):
    joined = joined_data(chat, 24, tmp_path)
    for split in ("train", "test"):
        source, rows = getattr(chat, split), getattr(joined, split)
        assert rows.column_names == ["input_ids", "labels"]
        for column in rows.column_names:
            tokens = sum(rows[column], [])
            assert tokens == sum(source[column], [])[: len(tokens)]
    assert not (tmp_path / "rows" / "joined-train.0.arrow").exists()


def test_joining_leaves_no_held_out_rows_as_they_are(chat, tmp_path):
    joined = joined_data(TrainingData("chat", 64, chat.train, None), 24, tmp_path)
    assert joined.test is None and len(joined.train)


def test_too_little_text_for_one_row_is_refused(workplace, tmp_path):
    rows = load_from_disk(str(workplace.folder / "text" / "train")).select(range(3))
    with pytest.raises(HeirloomError) as refused:
        joined_data(TrainingData("text", 32, rows, None), 128, tmp_path)
    assert str(refused.value) == (
        "training.seq_length is 128, and all rows to train on together hold 96 tokens: make it smaller, or train on "
        "more text"
    )
