"""ORPO's loss is TRL's where that is right, in float32, and a computation by hand everywhere."""

import math
import os
from types import SimpleNamespace

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # or trl.experimental warns that it may be moved

import pytest
import torch
from datasets import Dataset
from training_workplace import preference_texts
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from trl.experimental.orpo import ORPOConfig as TRLConfig
from trl.experimental.orpo import ORPOTrainer as TRLTrainer
from trl.trainer.utils import disable_dropout_in_model

from heirloom.errors import HeirloomError
from heirloom.training.batches.preference_collators import OddsRatioCollator
from heirloom.training.inputs.dropout import disable_dropout
from heirloom.training.losses.odds_ratio_loss import log_odds, odds_ratio_summary, pair_scores
from heirloom.training.trainers.orpo import ORPOConfig, ORPOTrainer

BETA = 0.3
LONGEST = 30
"""Tokens; some of TRL's answers below are cut to it."""


@pytest.fixture(scope="module")
def place(workplace, tmp_path_factory):
    """TRL's trainer of texts that it has tokenized and cut; the same rows as ours have them, of uneven lengths."""
    tokenizer = AutoTokenizer.from_pretrained(workplace.folder / "model")
    model = AutoModelForCausalLM.from_pretrained(workplace.folder / "model")
    texts = preference_texts()[:40]
    for index, row in enumerate(texts):  # of one to three sentences
        row["chosen"] = [{**row["chosen"][0], "content": row["chosen"][0]["content"] * (1 + index % 3)}]
    shared = {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "remove_unused_columns": False}
    shared |= {"output_dir": str(tmp_path_factory.mktemp("orpo")), "beta": BETA}
    theirs = TRLTrainer(
        model,
        args=TRLConfig(**shared, max_length=LONGEST),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
    )
    rows = []
    for row in theirs.train_dataset:
        prompt = len(row["prompt_input_ids"])
        rows.append({f"{side}_ids": row[f"{side}_input_ids"][prompt:] for side in ("chosen", "rejected")})
        rows[-1]["prompt_ids"] = row["prompt_input_ids"]
    lengths = {len(row["prompt_ids"]) + len(row["chosen_ids"]) for row in rows}
    assert max(lengths) == LONGEST and len(lengths) > 3
    return SimpleNamespace(theirs=theirs, rows=rows, model=model, tokenizer=tokenizer, shared=shared)


def ours(place, model, **arguments):
    rows = Dataset.from_list(place.rows)
    return ORPOTrainer(
        model=model,
        args=ORPOConfig(**place.shared | arguments),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=place.tokenizer,
        data_collator=OddsRatioCollator(place.tokenizer.pad_token_id),
    )


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("experts", [False, True], ids=["llama", "mixtral"])
def test_losses_and_gradients_are_trls(place, experts):
    model, theirs = place.model, place.theirs
    if experts:
        torch.manual_seed(1)
        sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"num_key_value_heads": 1, "num_local_experts": 4, "output_router_logits": True}
        model = MixtralForCausalLM(MixtralConfig(**sizes, router_aux_loss_coef=0.2, vocab_size=len(place.tokenizer)))
    theirs.aux_loss_enabled, theirs.aux_loss_coef = experts, 0.2
    trainer = ours(place, model)
    for size, start in ((4, 0), (7, 4), (1, 11)):
        indices = range(start, start + size)
        batch = theirs.data_collator([theirs.train_dataset[index] for index in indices])
        expected, logged = theirs.get_batch_loss_metrics(model, batch)
        of_ours = trainer.data_collator([place.rows[index] for index in indices])
        of_theirs = theirs.concatenated_inputs(batch, padding_value=place.tokenizer.pad_token_id)
        for name, values in of_ours.items():
            assert torch.equal(values, of_theirs[f"concatenated_{name}"]), name
        found = trainer.compute_loss(model, of_ours)
        assert found.item() == pytest.approx(expected.item(), abs=1e-6)
        values = {name: value.item() for name, value in trainer.passes.pop().items()}
        assert values.keys() == logged.keys()
        for name in values.keys() - {"logits/chosen", "logits/rejected"}:  # theirs are of the padding too
            assert values[name] == pytest.approx(logged[name], abs=2e-6), name
        theirs_of, ours_of = gradients(model, expected), gradients(model, found)
        assert ours_of.keys() == theirs_of.keys()
        for name, gradient in theirs_of.items():
            torch.testing.assert_close(ours_of[name], gradient, atol=1e-6, rtol=1e-5, msg=lambda text, n=name: n + text)


def by_hand(logits, rows, beta):
    """Return the loss of `rows`, (prompt, chosen, rejected), by the paper's formulas, in 64 bits, token by token."""
    nll, count, ratios = 0.0, 0, []
    for index, (prompt, *answers) in enumerate(rows):
        odds = []
        for which, answer in enumerate(answers):
            text = [*prompt, *answer]
            table = logits[index + which * len(rows)].double()  # (T, V)
            losses = [-table[place].log_softmax(-1)[text[place + 1]] for place in range(len(text) - 1)]
            of_answer = losses[-len(answer) :]
            probability = torch.exp(-sum(of_answer) / len(answer))
            odds.append(probability / (1 - probability))
            if which == 0:
                nll, count = nll + sum(losses), count + len(losses)
        ratios.append(torch.log(torch.sigmoid(torch.log(odds[0] / odds[1]))))
    return nll / count - beta * sum(ratios) / len(ratios)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_loss_and_gradient_are_those_by_hand_in_any_precision(monkeypatch, dtype):
    from heirloom.models import token_losses

    monkeypatch.setattr(token_losses, "MOST_TOKENS", 16)  # so that there are several parts
    generator = torch.Generator().manual_seed(0)
    lengths = ((3, 4, 2), (1, 1, 7), (5, 2, 2))
    rows = [tuple(torch.randint(3, 50, (count,), generator=generator).tolist() for count in of) for of in lengths]
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    batch = OddsRatioCollator(0, pad_to_multiple_of=3)([dict(zip(names, row, strict=True)) for row in rows])
    logits = (3 * torch.randn(*batch["input_ids"].shape, 50, generator=generator)).to(dtype).requires_grad_()
    summary = odds_ratio_summary(pair_scores(logits, **batch), BETA)
    expected = by_hand(logits, rows, BETA)
    assert summary["loss"].dtype == torch.float32
    assert summary["loss"].item() == pytest.approx(expected.item(), abs=1e-6)
    (of_hand,) = torch.autograd.grad(expected, logits)
    (found,) = torch.autograd.grad(summary["loss"], logits)
    assert found.dtype == dtype
    torch.testing.assert_close(found, of_hand, atol=1e-7, rtol=1e-5 if dtype == torch.float32 else 2**-7)
    mask = batch["attention_mask"][:, 1:].bool()  # the mean is of what predicts a token
    chosen = [logits[row, :-1][mask[row]].float().mean() for row in range(len(rows))]
    assert summary["logits/chosen"].item() == pytest.approx((sum(chosen) / len(rows)).item(), abs=1e-5)


def test_answers_that_are_certain_have_finite_odds_and_gradients(place):
    """TRL's gradient is no number as soon as one answer of a batch is as good as certain."""
    losses = torch.tensor([0.0, 1e-30, 1e-9, 1e-3, 0.5, math.log(2), 3.0, 50.0, 200.0], requires_grad=True)
    found = log_odds(losses)
    exact = [-math.log(math.expm1(loss)) for loss in losses.tolist()[1:]]
    assert found.tolist()[1:] == pytest.approx(exact, rel=1e-6, abs=1e-7)
    found.sum().backward()
    assert losses.grad.isfinite().all() and found.isfinite().all()
    certain = torch.tensor([-1e-9], requires_grad=True)
    place.theirs.odds_ratio_loss(certain, torch.tensor([-1.0]))[0].sum().backward()
    assert certain.grad.isnan().all()
    of_chosen = torch.tensor([1e-9], requires_grad=True)
    scores = torch.stack([torch.ones(1), torch.ones(1), of_chosen, torch.ones(1), *torch.zeros(2, 1)], dim=1)
    odds_ratio_summary(scores, BETA)["loss"].backward()
    assert of_chosen.grad.item() == pytest.approx(BETA / (math.e - 1), rel=1e-4)  # its limit: d log(1 + odds ratio)


def test_held_out_values_do_not_depend_on_the_size_of_batches(place):
    one, several = (ours(place, place.model, per_device_eval_batch_size=size) for size in (40, 7))
    whole = one.evaluate()
    parts = several.evaluate()
    for name in ("loss", "nll_loss", "log_odds_ratio", "rewards/accuracies", "rewards/margins", "logits/chosen"):
        assert parts[f"eval_{name}"] == pytest.approx(whole[f"eval_{name}"], abs=1e-6), name
    batch = one.data_collator(place.rows)
    with torch.no_grad():
        assert whole["eval_loss"] == pytest.approx(one.compute_loss(place.model.eval(), batch).item(), abs=1e-6)


def test_disable_dropout_knows_the_numbers_that_layers_keep():
    """OPT hands its dropout to a function, and leaves out layers at random; TRL's switch looks for modules alone."""
    config = OPTConfig(vocab_size=50, hidden_size=16, ffn_dim=16, num_hidden_layers=2, num_attention_heads=2)
    config.dropout, config.layerdrop = 0.5, 0.5
    model = OPTForCausalLM(config).train()
    ids = torch.arange(20)[None]
    disable_dropout_in_model(model)
    assert not torch.equal(model(ids).logits, model(ids).logits)
    disable_dropout(model)
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert (model.config.dropout, model.config.layerdrop) == (0.5, 0.5)


def test_a_model_that_is_not_causal_is_refused(place):
    layers = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 300}
    model = T5ForConditionalGeneration(T5Config(**layers, decoder_start_token_id=0))
    with pytest.raises(HeirloomError, match="^trainer: orpo compares answers of causal models, and the base is T5For"):
        ours(place, model)
