"""What cannot be trained here is refused in one sentence that says what to do; what can be is taken as it is given."""

import dataclasses
import json
import shutil

import pytest
import torch
from test_training_mistakes import NO_ROWS, command
from training_workplace import ROOT, TRAINING
from transformers import AutoConfig, AutoModelForCausalLM, TrainingArguments
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heirloom.config.arguments.attention import KNOWN
from heirloom.config.sections.peft import PeftSection
from heirloom.config.sections.source import ModelSource
from heirloom.data.processed_dataset import load_split, read_description
from heirloom.data.rows.tokenization import load_transformers_tokenizer
from heirloom.errors import HeirloomError
from heirloom.models import tokenizer_files, trained_checkpoints
from heirloom.models.fetching import MODEL_FILES, fetch
from heirloom.models.remote_code import trust
from heirloom.offloading import check_offloading
from heirloom.training.inputs.adapters import lora_config
from heirloom.training.inputs.base_models import load_model, load_tokenizer
from heirloom.training.losses.token_mean_loss import check_causal_loss
from heirloom.training.training_arguments import trainer_arguments

CODE = """\
from transformers import LlamaConfig, LlamaForCausalLM


class OddConfig(LlamaConfig):
    model_type = "odd"


class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""


def on_base(tmp_path, folder, **keys):
    return dataclasses.replace(command(tmp_path, **keys), base=folder)


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_4", "flex_attention"])
def test_attention_that_trains_on_a_gpu_only(workplace, tmp_path, name):
    with pytest.raises(HeirloomError) as caught:
        load_model(on_base(tmp_path, workplace.folder / "model", attn_implementation=name))
    assert str(caught.value) == (
        f"training.attn_implementation: {name} trains on a GPU only, and this machine has none: use sdpa or eager"
    )


def test_the_attention_that_the_configuration_knows_is_that_of_transformers(workplace, tmp_path):
    assert set(KNOWN) == {"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()} - {"paged|eager"}
    with pytest.raises(
        HeirloomError, match="cannot be loaded for training: .*sdpaa"
    ):  # where code of a base may know it
        base = workplace.folder / "model"
        load_model(on_base(tmp_path, base, attn_implementation="sdpaa", trust_remote_code=True))


DAMAGE = {
    "weights cut short": ("model.safetensors", lambda old: old[: len(old) // 2], "bytes, and its head tells of"),
    "weights cut in their table": ("model.safetensors", lambda old: old[:60], "60 bytes, and its head tells of"),
    "no weights": ("model.safetensors", lambda _: b"weights!" * 9, "is damaged"),
    "settings cut short": ("config.json", lambda old: old[:-9], "is damaged (it is no JSON: "),
    "settings of random bytes": ("config.json", lambda _: b"\x9f\xff\x00", "is damaged (it is no JSON: 'utf-8' codec"),
    "settings that are a list": ("config.json", lambda _: b"[]", "is damaged (it holds no object"),
    "an empty tokenizer": ("tokenizer.json", lambda _: b"", "is damaged (it is no JSON: "),
    "a tokenizer cut short": ("tokenizer.json", lambda old: old[: len(old) // 3], "is damaged (it is no JSON: "),
    "a tokenizer's settings": ("tokenizer_config.json", lambda _: b"7", "is damaged (it holds no object"),
    "a template of random bytes": ("chat_template.jinja", lambda _: b"\xff{{", "is damaged (it is no UTF-8 text: "),
    "what transformers passes over": ("generation_config.json", lambda old: old[:5], "is damaged (it is no JSON: "),
}
"""File, what becomes of its bytes, what is said behind its name."""


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_of_a_model_is_named_wherever_it_is_loaded(workplace, tmp_path, name):
    file, damage, said = DAMAGE[name]
    folder = shutil.copytree(workplace.folder / "model", tmp_path / "model")
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    for_tokens = (load_tokenizer, tokenizer_files.load_tokenizer, trained_checkpoints.load_tokenizer,
                  load_transformers_tokenizer)  # fmt: skip
    for_model = (
        lambda base: load_model(on_base(tmp_path, base)),
        lambda base: trained_checkpoints.load_model(base, "auto"),
    )
    for load in for_tokens if file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja") else for_model:
        with pytest.raises(HeirloomError) as caught:
            load(folder)
        assert str(caught.value).startswith(f"{folder / file} is damaged") and said in str(caught.value)
    if file in ("model.safetensors", "config.json", "generation_config.json"):
        with pytest.raises(
            HeirloomError, match=rf"^source: what came from {folder} is not whole: .*/{file} is damaged"
        ):
            fetch(ModelSource(path=str(folder)), tmp_path / "fetched", MODEL_FILES)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"hidden_size": 32}, "its weights have other shapes than its config.json says"),
        ({"hidden_size": "many"}, "Field 'hidden_size' expected int, got str"),
        ({"model_type": "nonesuch"}, "nonesuch"),
    ],
)
def test_settings_that_are_not_the_models_are_one_sentence(workplace, tmp_path, keys, said):
    folder = shutil.copytree(workplace.folder / "model", tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | keys))
    for load in (lambda: load_model(on_base(tmp_path, folder)), lambda: trained_checkpoints.load_model(folder, "auto")):
        with pytest.raises(HeirloomError) as caught:
            load()
        assert str(caught.value).startswith(f"{folder}: cannot be loaded") and said in str(caught.value)


def test_a_file_of_weights_that_the_index_names_and_that_is_gone(workplace, tmp_path):
    folder = shutil.copytree(workplace.folder / "model", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(
        HeirloomError, match=r"model-00002-of-00002.safetensors is missing, which model.safetensors.ind"
    ):
        trained_checkpoints.load_model(folder, "auto")


@pytest.mark.parametrize("file", ["dataset.json", "train/state.json", "train/dataset_info.json", "train/data-*.arrow"])
def test_a_damaged_file_of_a_dataset_is_one_sentence(workplace, tmp_path, file):
    folder = shutil.copytree(workplace.folder / "chat", tmp_path / "chat")
    (damaged,) = folder.glob(file)
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(HeirloomError, match=r"dataset.json is damaged|train: its rows cannot be read \("):
        read_description(folder), load_split(folder, "train")


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_attention_that_works_everywhere(workplace, tmp_path, name):
    model = load_model(on_base(tmp_path, workplace.folder / "model", attn_implementation=name))
    assert model.config._attn_implementation == name


def test_the_type_in_which_a_base_is_loaded(workplace, tmp_path):
    base = workplace.folder / "model"
    assert load_model(on_base(tmp_path, base)).dtype == torch.float32  # as it was saved
    assert load_model(on_base(tmp_path, base, default_dtype="bfloat16")).dtype == torch.bfloat16


def test_boolean_buffers_are_kept_out_of_data_parallel_synchronisation(workplace, tmp_path):
    model = load_model(on_base(tmp_path, workplace.folder / "model", ignore_bias_buffers=True))
    assert model._ddp_params_and_buffers_to_ignore == []  # a Llama has none; the old GPT-2 has its masks
    assert not hasattr(load_model(on_base(tmp_path, workplace.folder / "model")), "_ddp_params_and_buffers_to_ignore")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"fp16": True}, "training.fp16 needs a GPU, and this machine has none: use bf16: true, or leave both out"),
        ({"use_liger_kernel": True}, "training.use_liger_kernel needs a GPU, and this machine has none: delete it"),
    ],
)
def test_what_needs_a_gpu(tmp_path, keys, said):
    with pytest.raises(HeirloomError) as caught:
        trainer_arguments(TrainingArguments, command(tmp_path, **keys), NO_ROWS)
    assert str(caught.value) == said


def test_an_optimizers_former_name_is_used_with_a_warning(tmp_path, capsys):
    args = trainer_arguments(TrainingArguments, command(tmp_path, optim="adamw_hf"), NO_ROWS)
    assert args.optim == "adamw_torch"
    said = "warning: training.optim: adamw_hf is the former name of adamw_torch, which is used; write that"
    assert said in capsys.readouterr().out


def test_warmup_is_a_share_or_a_number_of_steps(tmp_path):
    args = trainer_arguments(TrainingArguments, command(tmp_path, warmup_steps=0.1), NO_ROWS)
    assert args.get_warmup_steps(200) == 20
    args = trainer_arguments(TrainingArguments, command(tmp_path, warmup_steps=7), NO_ROWS)
    assert args.get_warmup_steps(200) == 7


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"target_modules": ["q_prj"]}, "peft.target_modules: the model has no q_prj; did you mean q_proj?"),
        ({"target_modules": "query,value"}, "it has: down_proj, embed_tokens, gate_proj, k_proj, lm_head, o_proj, "),
        ({"modules_to_save": ["head"]}, "peft.modules_to_save: the model has no head; did you mean lm_head?"),
    ],
)
def test_modules_that_the_model_does_not_have(workplace, keys, said):
    model = AutoModelForCausalLM.from_pretrained(workplace.folder / "model")
    with pytest.raises(HeirloomError) as caught:
        lora_config(PeftSection(**keys), model)
    assert said in str(caught.value)


@pytest.mark.parametrize("names", [["q_proj", "v_proj"], "q_proj,v_proj", "q_proj, v_proj", "all-linear"])
def test_target_modules_in_every_form(workplace, names):
    model = AutoModelForCausalLM.from_pretrained(workplace.folder / "model")
    wanted = lora_config(PeftSection(target_modules=names), model).target_modules
    assert wanted == ("all-linear" if names == "all-linear" else {"q_proj", "v_proj"})


def test_an_nvme_drive_that_is_not_there(tmp_path):
    with pytest.raises(
        HeirloomError, match="zero3_nvme.json: nvme_path /local_nvme is no folder that can be written to"
    ):
        check_offloading(ROOT / "config" / "deepspeed" / "zero3_nvme.json")
    check_offloading(ROOT / "config" / "deepspeed" / "zero3_offload.json")
    check_offloading(None)


def test_code_of_a_model_runs_only_where_the_run_says_so(workplace, runs, tmp_path):
    """The same training, with code that came with the base, is refused by default and works when it is trusted."""
    base = workplace.folder / "odd"
    if not base.exists():
        shutil.copytree(workplace.folder / "model", base)
        config = json.loads((base / "config.json").read_text())
        classes = {"AutoConfig": "odd_model.OddConfig", "AutoModelForCausalLM": "odd_model.OddForCausalLM"}
        config |= {"model_type": "odd", "architectures": ["OddForCausalLM"], "auto_map": classes}
        (base / "config.json").write_text(json.dumps(config))
        (base / "odd_model.py").write_text(CODE)
    sections = {"training": {**TRAINING, "max_steps": 2}}
    arguments = workplace.training("train.py", "odd-refused", dataset="text", base="odd", **sections)
    done = workplace.launch(*arguments, check=False, HF_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.rstrip().splitlines()[-1] == (
        "train-checkpoint failed: odd: brings code of its own (odd_model.py), which is not run unless the run says "
        "so: read it, then set trust_remote_code: true at the top of the run's file (by hand: --trust_remote_code true)"
    )
    sections["training"]["trust_remote_code"] = True
    arguments = workplace.training("train.py", "odd-trusted", dataset="text", base="odd", **sections)
    workplace.launch(*arguments, HF_HOME=str(tmp_path))
    checkpoint = workplace.folder / "odd-trusted" / "checkpoint"
    assert (checkpoint / "odd_model.py").read_text() == CODE
    with pytest.raises(HeirloomError, match="brings code of its own"):
        trained_checkpoints.load_model(checkpoint, "auto")
    trust(True)
    try:
        assert type(trained_checkpoints.load_model(checkpoint, "auto")).__name__ == "OddForCausalLM"
    finally:
        trust(False)


@pytest.mark.parametrize("zero", ["zero0", "zero1", "zero2_offload", "zero3_offload"])
def test_every_deepspeed_file_that_works_here_trains_the_same_model(workplace, runs, zero):
    place = f"files/{zero}"
    sections = {"training": {**TRAINING, "max_steps": 4}}
    workplace.launch(*workplace.training("train.py", place, zero=zero, dataset="text", base="model", **sections))
    loss = json.loads((workplace.folder / place / "metrics.json").read_text())["after"]["loss"]
    assert loss == pytest.approx(4.79425, abs=0.01)


SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SMALL |= {"d_model": 16, "decoder_layers": 1, "encoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32}
SMALL |= {"n_layer": 1, "n_head": 2, "d_inner": 32, "num_key_value_heads": 2, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("model_type", "taken"),
    [
        *((name, True) for name in ("llama", "qwen3", "gpt2", "opt", "bloom", "mamba", "mixtral", "bert")),
        *((name, False) for name in ("bart", "marian", "mbart", "trocr", "whisper", "xlnet")),
    ],
)
def test_a_causal_model_whose_loss_ignores_the_rest_of_the_step(model_type, taken):
    """The losses themselves show it: divided by twice the labels of a batch, one that counts them is half its mean."""
    known = AutoConfig.for_model(model_type)
    sizes = {name: value for name, value in SMALL.items() if name in {*known.to_dict(), *known.attribute_map}}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, is_decoder=True, **sizes)).eval()
    ids = torch.randint(5, 50, (2, 8))
    with torch.no_grad():
        mean, of_step = (
            model(input_ids=ids, labels=ids, num_items_in_batch=count, use_cache=False).loss.item()
            for count in (None, torch.tensor(2 * 2 * 7))
        )
    assert of_step == pytest.approx(mean / 2 if taken else mean)
    if taken:
        check_causal_loss(model)
    else:
        with pytest.raises(HeirloomError, match=rf"\({model_type}\) computes its loss itself, .*use another base"):
            check_causal_loss(model)


def test_a_loss_of_its_own_is_no_matter_where_the_step_is_never_told(workplace):
    """Code that came with a model and takes no **kwargs gets no num_items_in_batch."""

    class Plain(type(AutoModelForCausalLM.from_pretrained(workplace.folder / "model"))):
        def forward(self, input_ids=None, attention_mask=None, labels=None):
            return torch.nn.functional.cross_entropy(self.lm_head(self.model(input_ids)[0]).mT, labels)

    check_causal_loss(Plain.from_pretrained(workplace.folder / "model"))
