"""Flags by hand: any key of a run's sections, with the file's own types, refusals and sentences."""

# ruff: noqa: E501 - messages stand here as they are printed

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.config.flags import with_flags
from heirloom.config.parsing.mistakes import ConfigErrors

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TRAINING = ["training", "peft", "quantization", "tracking", "resources"]
RUN = """\
base: tiny
dataset: chats
trainer: sft
training: {global_batch_size: 16, packing: true}
generation: {max_new_tokens: 4, engine: deepspeed_zero, cpu_offload: true}
"""


@pytest.fixture
def file(tmp_path) -> str:
    (tmp_path / "run.yaml").write_text(RUN)
    return str(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("words", "section", "key", "value"),
    [
        # the spellings that people have in their scripts, and values that are false in Python
        (["--ignore_bias_buffers=False"], "training", "ignore_bias_buffers", False),
        (["--trust_remote_code", "false"], "training", "trust_remote_code", False),
        (["--dataloader_num_workers", "0"], "resources", "dataloader_num_workers", 0),
        (["--packing=False"], "training", "packing", False),
        (["--bf16"], "training", "bf16", True),
        (["--learning_rate=0.00001"], "training", "learning_rate", 1e-5),
        (["--learning-rate", "2e-5"], "training", "learning_rate", 2e-5),
        (["--max_steps", "-1"], "training", "max_steps", -1),
        (["--lr_scheduler_type=cosine"], "training", "lr_scheduler_type", "cosine"),
        (["--optim=adamw_hf"], "training", "optim", "adamw_hf"),
        (["--logging_steps", "1"], "tracking", "logging_steps", 1),
        (["--run_name", "7"], "tracking", "run_name", "7"),
        (["--report_to", "wandb", "mlflow"], "tracking", "report_to", ["wandb", "mlflow"]),
        (["--r", "4"], "peft", "r", 4),
        (["--target_modules", "q_proj,v_proj"], "peft", "target_modules", "q_proj,v_proj"),
        (["--peft.lora_dropout=0"], "peft", "lora_dropout", 0),
        (["--instance_type=ml.p4d.24xlarge"], "resources", "instance_type", "ml.p4d.24xlarge"),
    ],
)
def test_a_flag_is_a_key_of_the_file(file, words, section, key, value):
    found = with_flags(file, words, TRAINING, "sft")[section][key]
    assert (found, type(found)) == (value, type(value))


def test_a_quantized_adapter_by_flags(file):
    made = with_flags(file, ["--load_in_4bit=True", "--bnb_4bit_quant_type=nf4", "--lora_alpha=16"], TRAINING, "sft")
    assert made["quantization"] == {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    assert made["peft"] == {"lora_alpha": 16} and made["training"] == {"global_batch_size": 16, "packing": True}


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--test_batch_size=2"], "test_batch_size", 2),
        (["--eos_tokens=128009"], "eos_tokens", "128009"),
        (["--cpu_offload=False"], "cpu_offload", False),
        (["--num_beams", "2"], "num_beams", 2),
        (["--default_dtype", "bfloat16"], "default_dtype", "bfloat16"),
    ],
)
def test_keys_of_generation_are_flags_of_inference(file, words, key, value):
    assert with_flags(file, words, ["generation", "tracking"], None)["generation"][key] == value


def mistakes(file: str, words: list[str], sections: list[str] = TRAINING) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        with_flags(file, words, sections, "sft" if "training" in sections else None)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("--learnin_rate=1", "there is no such flag; did you mean --learning_rate?"),
        ("--use_peft=True", "there is no such flag; write the section `peft:`, which says it by being there"),
        ("--lora_r=8", "there is no such flag; use peft.r"),
        ("--trainer_type=dpo", "there is no such flag; write it as `trainer:` at the top of the run's file"),
        ("--task_collator=default", "there is no such flag; use training.collator"),
        ("--num_beams=1", "there is no such flag; did you mean generation.num_beams?"),
        ("--padding=False", "there is no such flag; set processing.padding in the dataset's file"),
        ("--hf_token=x", "there is no such flag; secrets belong into the environment: HF_TOKEN (docs/sagemaker.md for jobs)"),
        ("--predict_with_generate=True", "there is no such flag; it is a key of trainer: seq2seq"),
        ("--beta=0.1", "there is no such flag; it is a key of trainer: dpo or orpo or kto or grpo or rloo"),
        ("--warmup_ratio=0.05", "training.warmup_ratio: is no key of the pinned version any more: use warmup_steps, where a number below 1 is a share of all steps"),
        ("--evaluation_strategy=steps", "training.evaluation_strategy: is no key of the pinned version any more: use eval_strategy"),
        ("--remove_unused_columns=False", "training.remove_unused_columns: is set by the workflow: the rows come tokenized and masked from the processed dataset; delete it"),
        ("--push_to_hub=True", "training.push_to_hub: is set by the workflow: DVC stores and pushes results; delete it"),
        ("--global_batch_size=many", "training.global_batch_size: expected a whole number, found the text 'many'"),
    ],
)  # fmt: skip
def test_a_flag_is_refused_as_the_file_refuses_its_key(file, word, sentence):
    assert mistakes(file, [word]) == [f"{word.partition('=')[0]}: {sentence}"]


def test_what_a_flag_breaks_elsewhere_is_told_of_the_file(file):
    broken = "quantization: quantized weights cannot be trained; add `peft:` or delete it"
    assert mistakes(file, ["--load_in_8bit=True"]) == [f"{file}: {broken}"]


def test_every_mistake_of_a_command_line_is_told_at_once_and_secrets_are_not_shown(file):
    token = "hf_" + "a" * 30
    found = mistakes(file, ["--lora_r=8", f"--hub_token={token}", "--max_prompt_length=9"])
    assert len(found) >= 3 and token not in "\n".join(found)
    assert "--lora_r: there is no such flag; use peft.r" in found


def test_inference_says_the_engine(file):
    found = mistakes(file, ["--inference_type=deepspeed", "--num_beam_groups=1"], ["generation", "tracking"])
    assert (
        found[0]
        == "--inference_type: there is no such flag; use generation.engine: accelerate, deepspeed or deepspeed_zero"
    )
    assert found[1].startswith(
        "--num_beam_groups: generation.num_beam_groups: cannot be set here: transformers has no group"
    )


def test_what_is_no_flag_is_told(file):
    assert mistakes(file, ["learning_rate", "1"]) == [
        "learning_rate: is no flag; write --KEY VALUE for a key of the run's file"
    ]


def test_the_program_that_the_scripts_ask(file):
    """In a process of its own, and without torch: what it imports is no code of a stage."""
    words = [sys.executable, str(SCRIPTS / "read_flags.py"), "--config", file, "--read", "training,peft"]
    done = subprocess.run([*words, "--", "--lora_alpha=32"], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["peft"] == {"lora_alpha": 32}, done.stderr
    done = subprocess.run([*words, "--", "--lora_r=32"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "--lora_r: there is no such flag; use peft.r\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("global_batch_size: 16", "global_batch_size: 16, instance_type: ml.p4d.24xlarge", "training.instance_type: trl.SFTConfig 1.16.0 has no such key; did you mean resources.instance_type?"),
        ("global_batch_size: 16", "global_batch_size: 16, task_collator: default", "training.task_collator: trl.SFTConfig 1.16.0 has no such key; use training.collator"),
        ("global_batch_size: 16", "global_batch_size: 16, predict_with_generate: true", "training.predict_with_generate: trl.SFTConfig 1.16.0 has no such key; it is a key of trainer: seq2seq"),
        ("global_batch_size: 16", "global_batch_size: 16, seq_lenght: 64", "training.seq_lenght: trl.SFTConfig 1.16.0 has no such key; did you mean seq_length?"),
        ("max_new_tokens: 4", "max_new_tokens: 4, engin: deepspeed", "generation.engin: transformers.GenerationConfig 5.23.0 has no such key; did you mean engine?"),
        ("trainer: sft\n", "trainer: sft\nlora_r: 8\n", "lora_r: there is no such key; use peft.r"),
        ("trainer: sft\n", "trainer: sft\npeft: {lora_r: 8}\n", "peft.lora_r: there is no such key; use peft.r"),
        ("max_new_tokens: 4", "max_new_tokens: 4, inference_type: deepspeed", "generation.inference_type: transformers.GenerationConfig 5.23.0 has no such key; use generation.engine: accelerate, deepspeed or deepspeed_zero"),
    ],
)  # fmt: skip
def test_files_know_the_same_places(workplace, old, new, message):
    workplace.write("config/runs/x.yaml", RUN.replace(old, new))
    (found,) = workplace.mistakes()
    assert found.split(": ", 1)[1] == message


def test_no_limit_of_steps_stands_beside_epochs(workplace):
    """-1 is what transformers takes for none; the former tool's scripts have both."""
    workplace.write("config/runs/x.yaml", RUN.replace("packing: true", "num_train_epochs: 1, max_steps: -1"))
    assert workplace.load().runs["x"].training.arguments["max_steps"] == -1
    workplace.write("config/runs/x.yaml", RUN.replace("packing: true", "max_steps: -2"))
    assert workplace.mistakes() == ["config/runs/x.yaml:4: training.max_steps: expected at least 1, found -2"]
