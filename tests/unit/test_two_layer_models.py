"""What stands in for a model in a rehearsal: its own architecture, with two layers."""

import pytest
from transformers import AutoConfig

from heirloom.config.sections.init import InitSection
from heirloom.config.sections.source import ModelSource
from heirloom.errors import HeirloomError
from heirloom.models.fresh_models import initialise_model
from heirloom.rehearsal.two_layer_models import (
    check_fits_together,
    make_small,
    make_stand_in,
    sizes_of_fresh_weights,
)


@pytest.mark.parametrize(
    "model_type",
    ["llama", "qwen3_moe", "gemma3_text", "mistral", "gpt_oss", "deepseek_v3", "gpt2", "gptj", "mt5", "bart", "bert"],
)
def test_an_architecture_has_a_form_with_two_layers(model_type):
    config = AutoConfig.for_model(model_type, vocab_size=300, pad_token_id=0, dtype="float32")
    make_small(config)
    model = initialise_model(config, 0)
    check_fits_together(model)
    assert config.num_hidden_layers == 2
    assert model.num_parameters() < 2_000_000


def test_what_makes_an_architecture_stays():
    config = AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=8, vocab_size=128_256)
    make_small(config)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (4, 2, 128_256)
    for shared, few in ((32, 4), (1, 1)):  # each head its own, and all the same
        config = AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=shared)
        make_small(config)
        assert config.num_key_value_heads == few
    config = AutoConfig.for_model("gemma3_text")
    make_small(config)
    assert config.layer_types == ["sliding_attention", "full_attention"]


def test_fresh_weights_keep_what_is_small_already():
    given = {"hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 4, "max_position_embeddings": 64}
    sizes = sizes_of_fresh_weights(InitSection(model_type="llama", **given))
    assert sizes["num_hidden_layers"] == 2 and sizes["intermediate_size"] == 128
    assert not {"hidden_size", "num_attention_heads", "max_position_embeddings"} & sizes.keys()
    named = sizes_of_fresh_weights(InitSection(model_type="gpt2", n_layer=12, n_embd=768))
    assert (named["n_layer"], named["n_embd"]) == (2, 64)


def test_an_architecture_without_one_is_told(tmp_path):
    source = tmp_path / "source"
    AutoConfig.for_model("clip_vision_model").save_pretrained(source)
    with pytest.raises(HeirloomError, match="clip_vision_model has no form with two layers here"):
        make_stand_in(ModelSource(path=str(source)), tmp_path / "small", trusted=False)
