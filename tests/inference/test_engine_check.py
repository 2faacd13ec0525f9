"""An engine that does not serve a model says so before its first batch; what depends on padding is done without it."""

import pytest
import torch
from accelerate import PartialState
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from heirloom.config.sections.generation import GenerationSection
from heirloom.errors import HeirloomError
from heirloom.inference.completion_logprobs import plain_logprobs
from heirloom.inference.engines import Engine, load_answerer
from heirloom.inference.prompts import read_prompts

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
GEMMA2 = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8}
MODELS = {
    "bloom": {**SMALL, "n_layer": 2, "n_head": 2},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 2, "initializer_range": 0.3},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    "gptj": {**GPT, "rotary_dim": 8},
    "openai-gpt": GPT,
    "gpt2": GPT,
    "gemma2": GEMMA2,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 32, "initializer_range": 0.3},
    "falcon": {**SMALL, "alibi": True},
}


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    """Return how to make a tiny model of a kind with the place's tokenizer, each once."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = AutoTokenizer.from_pretrained(place.folder / "model")

    def make(kind: str, **changes):
        target = folder / "-".join([kind, *map(str, changes.values())])
        if not target.exists():
            torch.manual_seed(0)
            special = {"eos_token_id": 0, "pad_token_id": 1, "bos_token_id": None}
            config = AutoConfig.for_model(kind, **{**MODELS[kind], **changes}, vocab_size=280, **special)
            model = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for weights in model.parameters():
                    if kind == "rwkv" and weights.dim() == 2:
                        weights.normal_(std=0.3)
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
        return target

    return make


def engine_of(place, checkpoint, limit=None, **section):
    ranks = PartialState(cpu=True)
    options = GenerationSection.model_validate({"max_new_tokens": 6, **section})
    return Engine(load_answerer(checkpoint, options, ranks), read_prompts(place.folder / "chats", limit), ranks)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bloom", "continuous cannot serve a bloom model: transformers gives it no attention in pages"),
        ("mpt", "continuous cannot serve a mpt model"),
        ("gpt_neo", "continuous cannot serve a gpt_neo model"),
        ("gptj", "continuous cannot serve a gptj model"),
        ("openai-gpt", "continuous cannot serve a openai-gpt model"),
        ("falcon", "continuous cannot serve a falcon model"),
        ("gemma2", r"continuous drops attn_logit_softcapping 50 of this gemma2 model here"),
        ("mamba", "continuous cannot serve a mamba model|has layers of"),
        ("rwkv", "continuous cannot serve a rwkv model"),
    ],
)
def test_continuous_refuses_what_its_pages_do_not_serve(place, made, kind, message):
    with pytest.raises(HeirloomError, match=message):
        load_answerer(made(kind), GenerationSection(engine="continuous"), PartialState(cpu=True))


def test_wrong_numbers_are_found_by_the_comparison_alone(place, made, monkeypatch):
    """Were transformers to claim that its pages serve ALiBi, or softcapping: the first tokens tell."""
    for kind, attribute in (("bloom", "_supports_attention_backend"), ("gemma2", None)):
        if attribute:
            model = type(AutoModelForCausalLM.from_pretrained(made(kind)))
            monkeypatch.setattr(model, attribute, True)
        else:
            monkeypatch.setattr("heirloom.inference.engines.check_continuous", lambda model: None)
        changes = {"attn_logit_softcapping": 0.5} if kind == "gemma2" else {}
        with pytest.raises(HeirloomError, match="continuous gives other numbers for this .* model .*: use engine: acc"):
            engine_of(place, made(kind, **changes), engine="continuous")


@pytest.mark.parametrize("kind", ["bloom", "mpt", "gpt_neo", "gptj", "openai-gpt", "gemma2", "mamba", "falcon"])
def test_accelerate_serves_them_with_padding(place, made, kind):
    engine = engine_of(place, made(kind), limit=5)
    assert max(map(len, engine.batches)) == 5
    assert_right(engine)


def assert_right(engine):
    """Compare tokens and log-probabilities with a plain pass of each prompt alone."""
    model = engine.answerer.model
    prompts = {prompt.row_id: prompt for batch in engine.batches for prompt in batch}
    for row in (row for rows in engine.answers(set()) for row in rows):
        ids = list(prompts[row["row_id"]].ids)
        with torch.no_grad():
            alone = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=1)
            new = alone[0, len(ids) :].tolist()
            new = new[: new.index(0)] if 0 in new else new
            wanted = plain_logprobs(model, ids, new).sum().item()
        assert row["completion_tokens"] == len(new)
        assert row["logprob"] == pytest.approx(wanted, abs=2e-3)


def test_a_model_that_reads_padding_as_text_answers_one_by_one(place, made, capsys):
    """RWKV has no mask, and its state is wrong in batches even of one length."""
    engine = engine_of(place, made("rwkv"), test_batch_size=8)
    assert "a rwkv model answers prompts in batches otherwise than alone: they are" in capsys.readouterr().out
    assert {len(batch) for batch in engine.batches} == {1}
    assert_right(engine)


def test_a_model_that_predicts_no_next_tokens_is_told(place, made):
    with pytest.raises(HeirloomError, match="accelerate gives other numbers for this xlnet model than the model itse"):
        engine_of(place, made("xlnet"))


def test_deepspeed_says_which_model_it_cannot_split(place, made):
    config = place.config("unsplit", generation={"max_new_tokens": 4, "engine": "deepspeed"})
    command = place.inference(config, "never", model=made("gpt2"))
    done = place.run(*command, ranks=2, check=False)
    assert "deepspeed cannot split a gpt2 model over the ranks" in done.stderr
    assert "Traceback" not in done.stderr and done.returncode == 1
