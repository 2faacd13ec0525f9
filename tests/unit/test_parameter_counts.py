"""How many parameters a model has, held against transformers, peft and what was put in."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from heirloom import rank
from heirloom.training.inputs.parameter_counts import parameter_counts, size


def test_scattered_and_packed_weights_count_in_full():
    rank.allow("bitsandbytes")
    from bitsandbytes.nn import Params4bit

    scattered = torch.nn.Parameter(torch.empty(0))
    scattered.ds_numel = 12  # as ZeRO-3 leaves it
    assert size(scattered) == 12
    for storage in (torch.uint8, torch.bfloat16):
        packed = Params4bit(torch.randn(64, 32), requires_grad=False, quant_storage=storage).to("cpu")
        assert packed.numel() < 64 * 32 and size(packed) == 64 * 32
    odd = Params4bit(torch.randn(5, 5), requires_grad=False).to("cpu")
    assert size(odd) == 25  # in 13 bytes
    odd.quant_state = None
    assert size(odd) == 26  # as transformers counts, where nothing says what was packed


def test_all_and_trained_parameters_are_those_of_transformers_and_peft():
    from peft import LoraConfig, get_peft_model

    sizes = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, tie_word_embeddings=True))
    count = model.num_parameters()
    assert parameter_counts(model) == {"parameters": count, "trained_parameters": count}
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"]))
    trained, everything = adapted.get_nb_trainable_parameters()
    assert parameter_counts(adapted) == {"parameters": everything, "trained_parameters": trained}
    assert everything > count > trained > 8
