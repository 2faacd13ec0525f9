"""Each collator on real batches: rows of text, chats and pairs as the processing makes them."""

import re
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from datasets import Dataset, load_from_disk
from torch.utils.data import DataLoader
from training_workplace import ROOT, preference_texts
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.trainers.table import TRAINERS
from heirloom.errors import HeirloomError
from heirloom.training.batches.collator_choice import make_collator
from heirloom.training.batches.masked_language_modeling import MaskingCollator
from heirloom.training.batches.preference_collators import OddsRatioCollator, make_preference_collator

IGNORED = -100


@pytest.fixture(scope="module")
def place(workplace):
    """Tokenizers with and without a mask token, a small model of each architecture, and the rows of each kind."""
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "model")
    masking = AutoTokenizer.from_pretrained(workplace.folder / "model")
    masking.add_special_tokens({"mask_token": "<|mask|>"})
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    masked = BertForMaskedLM(BertConfig(vocab_size=len(masking), max_position_embeddings=64, **sizes)).eval()
    layers = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    encoder_decoder = T5ForConditionalGeneration(
        T5Config(vocab_size=300, decoder_start_token_id=0, pad_token_id=tokenizer.pad_token_id, **layers)
    ).eval()
    kinds = ("text", "chat", "preference")
    return SimpleNamespace(
        tokenizer=tokenizer,
        masking=masking,
        causal=AutoModelForCausalLM.from_pretrained(workplace.folder / "model").eval(),
        masked=masked,
        encoder_decoder=encoder_decoder,
        **{kind: load_from_disk(str(workplace.folder / kind / "train")) for kind in kinds},
    )


@pytest.fixture(scope="module")
def uneven(place):
    """Rows of plain text of 9 to 31 tokens."""
    return [{"input_ids": row["input_ids"][: 9 + index % 23]} for index, row in enumerate(place.text)]


def collator(place, name, trainer, rows, model=None, **options):
    model = model or place.causal
    tokenizer = place.masking if model is place.masked else place.tokenizer
    columns = list(rows[0])
    return make_collator(name, trainer=TRAINERS[trainer], columns=columns, tokenizer=tokenizer, model=model, **options)


def pair_collator(place, trainer, name="default", **options):
    kind = {"dpo": DataCollatorForPreference, "orpo": OddsRatioCollator}[trainer]
    return make_preference_collator(kind, name, trainer=TRAINERS[trainer], tokenizer=place.tokenizer, **options)


def batches_of(rows, size=8):
    rows = list(rows)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def check_padding(batch, rows, pad_token_id, multiple):
    """Check input_ids, attention_mask and labels of a batch padded on the right against its rows."""
    longest = max(len(row["input_ids"]) for row in rows)
    assert batch["input_ids"].shape == (len(rows), -(-longest // multiple) * multiple)
    assert batch["attention_mask"].shape == batch["labels"].shape == batch["input_ids"].shape
    for index, row in enumerate(rows):
        length = len(row["input_ids"])
        assert batch["input_ids"][index].tolist()[:length] == row["input_ids"]
        assert batch["labels"][index].tolist()[:length] == row.get("labels", row["input_ids"])
        assert batch["attention_mask"][index].tolist()[:length] == [1] * length
        assert (batch["input_ids"][index, length:] == pad_token_id).all()
        assert (batch["labels"][index, length:] == IGNORED).all()
        assert (batch["attention_mask"][index, length:] == 0).all()


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize(
    ("name", "trainer", "kind"),
    [
        ("dynamic_padding_only", "trainer", "text"),
        ("dynamic_padding_only", "trainer", "chat"),
        ("dynamic_padding_only", "sft", "text"),
        ("completion_only", "sft", "chat"),
        ("completion_only", "trainer", "chat"),
        ("seq2seq", "seq2seq", "chat"),
        ("default", "trainer", "text"),
        ("default", "sft", "chat"),
        ("default", "sft", "text"),
        ("default", "seq2seq", "chat"),
    ],
)
def test_a_batch_holds_its_rows_and_masked_padding(place, uneven, name, trainer, kind, multiple):
    rows = uneven if kind == "text" else list(place.chat)
    collate = collator(place, name, trainer, rows, pad_to_multiple_of=multiple)
    lengths = set()
    for some in batches_of(rows):
        batch = collate(some)
        assert batch.keys() == {"input_ids", "attention_mask", "labels"}
        check_padding(batch, some, place.tokenizer.pad_token_id, multiple)
        lengths.add(batch["input_ids"].shape[1])
    assert any(length % 8 for length in lengths) == (multiple == 1)


def test_padding_to_a_multiple_changes_no_loss(place):
    rows = list(place.chat)[:8]
    losses = {}
    for multiple in (None, 8, 64):
        batch = collator(place, "completion_only", "sft", rows, pad_to_multiple_of=multiple)(rows)
        with torch.no_grad():
            losses[multiple] = place.causal(**batch).loss.item()
    assert losses[8] == pytest.approx(losses[None], rel=1e-5)
    assert losses[64] == pytest.approx(losses[None], rel=1e-5)


def test_rows_that_are_filled_up_already_keep_their_masks(place):
    ids, pad = place.text[0]["input_ids"][:5], place.tokenizer.pad_token_id
    row = {"input_ids": ids + [pad] * 3, "attention_mask": [1] * 5 + [0] * 3, "labels": ids + [IGNORED] * 3}
    for name, trainer, model in (
        ("dynamic_padding_only", "trainer", place.causal),
        ("seq2seq", "seq2seq", place.causal),
        ("mlm", "trainer", place.masked),
    ):
        batch = collator(place, name, trainer, [row], model, mlm_probability=0.99)([row, row])
        assert batch["attention_mask"].tolist() == [row["attention_mask"]] * 2
        assert (batch["input_ids"][:, 5:] == pad).all() and (batch["labels"][:, 5:] == IGNORED).all()


@pytest.mark.parametrize("name", ["seq2seq", "default"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_seq2seq_pads_source_and_target_apart(place, name, multiple):
    """An encoder-decoder model gets what it reads and what it writes in tensors of two lengths."""
    rows = []
    for row in place.chat:
        prompt = sum(label == IGNORED for label in row["labels"])
        rows.append({"input_ids": row["input_ids"][:prompt], "labels": row["labels"][prompt:]})
    collate = collator(place, name, "seq2seq", rows, place.encoder_decoder, pad_to_multiple_of=multiple)
    for some in batches_of(rows):
        batch = collate([{**row, "prompt": "a column that no model takes"} for row in some])
        assert batch.keys() == {"input_ids", "attention_mask", "labels", "decoder_input_ids"}
        longest = [max(len(row[side]) for row in some) for side in ("input_ids", "labels")]
        padded = [-(-length // multiple) * multiple for length in longest]
        assert [batch["input_ids"].shape[1], batch["labels"].shape[1]] == padded
        for index, row in enumerate(some):
            source, target = len(row["input_ids"]), len(row["labels"])
            assert batch["input_ids"][index].tolist()[:source] == row["input_ids"]
            assert batch["attention_mask"][index].tolist() == [1] * source + [0] * (padded[0] - source)
            assert batch["labels"][index].tolist() == row["labels"] + [IGNORED] * (padded[1] - target)
            assert batch["decoder_input_ids"][index].tolist()[: target + 1] == [0, *row["labels"]][: padded[1]]
    with torch.no_grad():
        assert place.encoder_decoder(**batch).loss.isfinite()


def test_pairs_make_the_batches_that_trl_makes_of_the_texts(place, tmp_path):
    args = DPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        max_length=64,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    texts = Dataset.from_list(preference_texts()[: len(place.preference)])
    model = AutoModelForCausalLM.from_config(place.causal.config)
    theirs = DPOTrainer(model, args=args, train_dataset=texts, processing_class=place.tokenizer)
    ours = pair_collator(place, "dpo")
    pairs = zip(batches_of(theirs.train_dataset), batches_of(place.preference), strict=True)
    for tokenized, rows in pairs:
        expected = theirs.data_collator(tokenized)
        expected = {name: values for name, values in expected.items() if isinstance(values, torch.Tensor)}
        batch = ours(rows)
        assert batch.keys() == expected.keys()
        for name, values in batch.items():
            assert values.dtype == expected[name].dtype and torch.equal(values, expected[name]), name


def test_pairs_padded_to_a_multiple(place):
    """What a multiple of 8 adds is padding, on the right."""
    pad = place.tokenizer.pad_token_id
    for trainer in ("dpo", "orpo"):
        plain, padded = (
            pair_collator(place, trainer, "rl_dynamic_padding_only", pad_to_multiple_of=multiple)
            for multiple in (None, 8)
        )
        added = 0
        for rows in batches_of(place.preference):
            short, long = plain(rows), padded(rows)
            assert long.keys() == short.keys()
            for name, values in long.items():
                more = values.shape[1] - short[name].shape[1]
                assert values.shape[1] % 8 == 0 and 0 <= more < 8
                kept, filled = values[:, : values.shape[1] - more], values[:, values.shape[1] - more :]
                assert torch.equal(kept, short[name])
                value = pad if name.endswith("input_ids") else IGNORED if name.endswith("labels") else 0
                assert (filled == value).all()
                added += more
        assert added


def test_orpo_trains_on_the_answers_alone(place):
    rows = list(place.preference)[:8]
    labels = pair_collator(place, "orpo")(rows)["labels"]
    for side, of_side in zip(("chosen", "rejected"), labels.split(len(rows)), strict=True):
        for row, of_row in zip(rows, of_side, strict=True):
            assert of_row[of_row != IGNORED].tolist() == row[f"{side}_ids"]


def test_masks_are_about_as_many_as_asked_for_and_of_three_sorts(place):
    """80% of the chosen tokens become the mask, 10% any token (one in 301 the same), 10% stay."""
    rows, special = list(place.text), set(place.masking.all_special_ids)
    batch = collator(place, "mlm", "trainer", rows, place.masked, mlm_probability=0.3)(rows)
    original = torch.tensor([row["input_ids"] for row in rows])
    ordinary = torch.tensor([[token not in special for token in row["input_ids"]] for row in rows])
    chosen = batch["labels"] != IGNORED
    assert not (chosen & ~ordinary).any()
    assert torch.equal(batch["labels"][chosen], original[chosen])
    assert torch.equal(batch["input_ids"][~chosen], original[~chosen])
    count = int(chosen.sum())
    assert count > 1000  # so that 3 standard deviations are about 0.02 and 0.04
    assert count / int(ordinary.sum()) == pytest.approx(0.3, abs=0.03)
    masked = batch["input_ids"][chosen] == place.masking.mask_token_id
    same = batch["input_ids"][chosen] == original[chosen]
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=0.04)
    assert float(same.float().mean()) == pytest.approx(0.1, abs=0.03)
    assert float((~masked & ~same).float().mean()) == pytest.approx(0.1, abs=0.03)


def test_masks_come_only_where_the_rows_are_trained_on(place):
    rows = list(place.chat)[:40]
    batch = collator(place, "mlm", "trainer", rows, place.masked, mlm_probability=0.5, pad_to_multiple_of=8)(rows)
    assert batch["input_ids"].shape[1] % 8 == 0
    for row, labels in zip(rows, batch["labels"].tolist(), strict=True):
        assert all(row["labels"][index] == label for index, label in enumerate(labels) if label != IGNORED)
    assert (batch["labels"] != IGNORED).any()


def masks_by_row(batches):
    """Return {row without padding: its labels} of batches."""
    found = {}
    for batch in batches:
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            length = int(mask.sum())
            whole = torch.where(labels == IGNORED, ids, labels)[:length]  # the row before it was masked
            found[tuple(whole.tolist())] = (ids[:length].tolist(), labels[:length].tolist())
    return found


def test_masks_depend_on_row_seed_and_epoch_alone(place, uneven):
    def masks(seed=1, epoch=0, rows=uneven, **loader):
        collate = collator(place, "mlm", "trainer", rows, place.masked, seed=seed)
        assert isinstance(collate, MaskingCollator)
        collate.epoch.fill_(epoch)
        return masks_by_row(DataLoader(rows, collate_fn=collate, **{"batch_size": 8, **loader}))

    first = masks()
    assert len(first) > 20
    assert masks(batch_size=5) == first
    assert masks(rows=uneven[::-1], batch_size=3) == first
    assert masks(num_workers=2) == first
    assert masks(rows=uneven[1::2], num_workers=1, batch_size=7).items() <= first.items()
    others = (masks(seed=2), masks(epoch=1))
    for other in others:
        assert other.keys() == first.keys()
        assert sum(other[row] != first[row] for row in first) > len(first) / 2
    assert others[0] != others[1]
    assert masks(epoch=1, num_workers=2) == others[1]


@pytest.mark.parametrize("persistent", [False, True])
def test_running_data_loader_workers_hear_of_a_new_epoch(place, uneven, persistent):
    collate = collator(place, "mlm", "trainer", uneven, place.masked)
    loader = DataLoader(uneven, batch_size=8, collate_fn=collate, num_workers=1, persistent_workers=persistent)
    epochs = []
    for epoch in (0, 1, 0):
        collate.epoch.fill_(epoch)
        epochs.append(masks_by_row(loader))
    assert epochs[0] == epochs[2] != epochs[1]


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)
def test_a_collator_of_another_trainer_is_refused_with_those_that_fit(trainer):
    names = {name for each in TRAINERS.values() for name in each.collators}
    assert names == {"completion_only", "seq2seq", "mlm", "dynamic_padding_only", "rl_dynamic_padding_only"}
    for name in names:
        if name in trainer.collators:
            assert trainer.fitting_collator(name) == name
        else:
            with pytest.raises(HeirloomError) as refused:
                trainer.fitting_collator(name)
            assert str(refused.value) == (
                f"training.collator: {name} does not fit trainer: {trainer.name}, which takes "
                f"{' or '.join(trainer.collators)} (default: {trainer.collators[0]})"
            )
    assert trainer.fitting_collator("default") == trainer.collators[0]


def test_the_table_in_the_documentation_is_that_of_the_code():
    lines = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
    header = lines.index("| `trainer:` | `default` means | allowed | refused |")
    documented = {}
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            break
        trainers, default, allowed, refused = (re.findall("`([a-z0-9_]+)`", cell) for cell in line[1:-1].split("|"))
        for trainer in trainers:
            documented[trainer] = tuple(allowed)
            assert default[0] == allowed[0]
            assert refused == [] or {*allowed, *refused} == {*get_args(CollatorName)} - {"default"}
    assert documented == {trainer.name: trainer.collators for trainer in TRAINERS.values()}


@pytest.mark.parametrize("trainer", ["dpo", "orpo"])
def test_pairs_refuse_another_collator(place, trainer):
    with pytest.raises(HeirloomError, match=f"completion_only does not fit trainer: {trainer}"):
        pair_collator(place, trainer, "completion_only")


@pytest.mark.parametrize(
    ("name", "trainer", "said"),
    [
        (
            "completion_only",
            "trainer",
            "training.collator: completion_only needs rows with labels, which say what is trained on, and the dataset "
            "has only input_ids: use a dataset of kind chat or dynamic_padding_only, which trains on every token",
        ),
        (
            "seq2seq",
            "seq2seq",
            "training.collator: seq2seq needs rows with labels, which say what is trained on, and the dataset has only "
            "input_ids: use a dataset of kind chat",
        ),
    ],
)
def test_rows_without_labels_are_refused(place, name, trainer, said):
    with pytest.raises(HeirloomError) as refused:
        collator(place, name, trainer, list(place.text)[:1])
    assert str(refused.value) == said


def test_models_that_predict_something_else_are_refused(place):
    chats = list(place.chat)[:1]
    cases = {
        ("mlm", "trainer", "causal"): "mlm does not fit LlamaForCausalLM, no masked language model: choose another "
        "collator, or another base",
        ("dynamic_padding_only", "trainer", "masked"): "dynamic_padding_only does not fit BertForMaskedLM, a masked "
        "language model: choose mlm (trainer: trainer), or another base",
        ("seq2seq", "seq2seq", "masked"): "seq2seq does not fit BertForMaskedLM, a masked language model: choose mlm "
        "(trainer: trainer), or another base",
        ("completion_only", "sft", "encoder_decoder"): "completion_only does not fit T5ForConditionalGeneration, an "
        "encoder-decoder model: choose trainer: seq2seq with collator: seq2seq",
        ("mlm", "trainer", "encoder_decoder"): "mlm does not fit T5ForConditionalGeneration, no masked language model: "
        "choose another collator, or another base",
    }
    for (name, trainer, model), said in cases.items():
        with pytest.raises(HeirloomError) as refused:
            collator(place, name, trainer, chats, getattr(place, model))
        assert str(refused.value) == f"training.collator: {said}"


def test_a_tokenizer_without_mask_token_is_refused(place):
    with pytest.raises(HeirloomError, match="^training.collator: mlm needs a tokenizer with a mask_token, and the"):
        make_collator(
            "mlm",
            trainer=TRAINERS["trainer"],
            columns=["input_ids"],
            tokenizer=place.tokenizer,
            model=place.masked,
        )


def test_labels_of_another_length_are_refused_even_where_padding_would_hide_it(place):
    """15 tokens and 13 labels are 16 of each when they are padded to a multiple of 8."""
    good = list(place.chat)[0]
    bad = {"input_ids": list(range(15)), "labels": list(range(13))}
    for name, trainer, model in (
        ("completion_only", "sft", place.causal),
        ("dynamic_padding_only", "trainer", place.causal),
        ("seq2seq", "seq2seq", place.causal),
        ("mlm", "trainer", place.masked),
    ):
        collate = collator(place, name, trainer, [good], model, pad_to_multiple_of=8)
        collate([good])
        with pytest.raises(HeirloomError) as refused:
            collate([good, bad])
        assert str(refused.value) == (
            "training.collator: a row has 15 input_ids and 13 labels, and this model needs a label for each token: "
            "choose an encoder-decoder base with trainer: seq2seq and collator: seq2seq, or another dataset"
        )
