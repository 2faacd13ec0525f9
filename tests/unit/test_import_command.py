"""Commands of the former tool become files of config/: every flag once, nothing guessed silently, no secret written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heirloom.config.arguments.former_names import FORMER_NAMES
from heirloom.config.parsing.reading import read_yaml
from heirloom.config.project import load_project
from heirloom.errors import HeirloomError
from heirloom.migration.commands import commands_in
from heirloom.migration.imported_files import imported

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ROOT / "tests" / "unit" / "former_commands"
"""The commands that the former tool's README has, as they stand there."""
NAMES = ("create_dataset", "training", "rlhf", "inference")
PROGRAM = ROOT / "scripts" / "import_command.py"


def program(*words: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words], input=text, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a config/ that has the shipped DeepSpeed files and nothing else."""
    shutil.copytree(ROOT / "config" / "deepspeed", tmp_path / "config" / "deepspeed")
    (tmp_path / "config" / "runs").mkdir()
    return tmp_path


def test_variables_comments_and_pipes_are_read_as_a_shell_reads_them():
    (command,) = commands_in((COMMANDS / "rlhf.sh").read_text(), "rlhf.sh")
    assert command.program == "launch.py" and command.positional == ()
    assert command.flags["job_prefix"] == "llm-rlhf" and command.flags["hf_token"] == ""
    assert list(command.flags)[:2] == ["output_dir", "instance_type"] and list(command.flags)[-1] == "beta"
    (command,) = commands_in((COMMANDS / "create_dataset.sh").read_text(), "x")
    assert command.positional == ("s3://deepspeed_test_datasets",)
    assert (command.flags["debug"], command.flags["remove_columns"]) == ("False", "True")
    spaced = commands_in("A='two words'\npython launch.py --job_prefix \"$A\" --hf_token ${SECRET} > log\n", "x")
    assert spaced[0].flags == {"job_prefix": "two words", "hf_token": "${SECRET}"}
    with pytest.raises(HeirloomError, match="holds no command of launch.py or create_dataset.py"):
        commands_in("echo hello\n", "x.sh")
    with pytest.raises(HeirloomError, match="--beta is given twice"):
        commands_in("python launch.py --beta=1 --beta=2", "x.sh")


@pytest.mark.parametrize("scripts", [*((name,) for name in NAMES), ("create_dataset", "training")], ids="+".join)
def test_the_files_are_accepted_and_carry_each_flag_once(root, scripts):
    words = [str(COMMANDS / f"{name}.sh") for name in scripts]
    said = program(*words, "--root", str(root)).stdout
    project = load_project(root, None)
    assert (len(project.runs), len(project.datasets), len(project.models)) == (
        int(scripts != ("create_dataset",)),
        1,
        1,
    )
    text = "\n".join(file.read_text() for file in sorted(root.rglob("config/*/*.yaml")))
    for name in scripts:
        (command,) = commands_in((COMMANDS / f"{name}.sh").read_text(), name)
        for flag in command.flags:
            lines = re.findall(rf"^# --{flag}(?:=.*)?: (kept|renamed|default|dropped|TODO)\b", text, re.MULTILINE)
            assert len(lines) == sum(flag in one.flags for one in all_commands(scripts)), flag
    assert {line.removeprefix("# TODO ") for line in text.splitlines() if line.startswith("# TODO ")} <= {
        line.partition(".yaml: ")[2] for line in said.splitlines() if line.startswith("TODO ")
    }


def all_commands(scripts):
    return [command for name in scripts for command in commands_in((COMMANDS / f"{name}.sh").read_text(), name)]


def test_what_the_preference_command_means(root):
    program(str(COMMANDS / "rlhf.sh"), "--root", str(root))
    file = root / "config/runs/llm-rlhf.yaml"
    run = read_yaml(file)
    assert "# TODO peft.target_modules: every name must be a layer that the model has" in file.read_text()
    assert (run["trainer"], run["deepspeed"], run["trust_remote_code"]) == ("dpo", "zero3", True)
    training = run["training"]
    assert (training["global_batch_size"], training["warmup_steps"], training["fp16"]) == (64, 0.05, True)
    assert (training["default_dtype"], training["optim"], training["eval_strategy"]) == (
        "bfloat16", "adamw_torch", "steps",
    )  # fmt: skip
    assert run["tracking"] == {"save_total_limit": 5, "logging_steps": 1, "save_steps": 20}
    assert run["peft"]["lora_dropout"] == 0.05 and run["quantization"] == {"load_in_4bit": True}
    assert run["resources"] == {"instance_type": "ml.p4d.24xlarge", "instance_count": 2, "volume_size": 300}
    assert read_yaml(root / "config/models/meta-llama-3-8b-instruct.yaml") == {
        "source": {"s3": "s3://llama3/Meta-Llama-3-8B-Instruct"}
    }
    processing = read_yaml(root / "config/datasets/llm-rlhf-data.yaml")["processing"]
    assert (processing["max_length"], processing["max_prompt_length"]) == (8192, 512)


def test_what_the_inference_command_means(root):
    program(str(COMMANDS / "inference.sh"), "--root", str(root))
    run = read_yaml(root / "config/runs/llm-inference.yaml")
    assert "trainer" not in run and run["tracking"] == {"s3_upload_dir": "s3://deepspeed-inference/test"}
    assert run["generation"] == {
        "default_dtype": "float16", "attn_implementation": "eager", "max_length": 1024, "engine": "deepspeed",
        "eos_tokens": "128009", "test_batch_size": 2, "num_beams": 1,
    }  # fmt: skip


def test_the_rows_come_from_the_command_that_made_them(root):
    program(*(str(COMMANDS / f"{name}.sh") for name in ("create_dataset", "training")), "--root", str(root))
    assert read_yaml(root / "config/runs/llm-training.yaml")["dataset"] == "no_robots"
    dataset = read_yaml(root / "config/datasets/no_robots.yaml")
    assert dataset["source"] == {"hub": "HuggingFaceH4/no_robots"}
    assert dataset["tokenizer"] == "meta-llama-3-8b-instruct" and dataset["processing"]["max_length"] == 8192


def test_a_secret_is_written_nowhere_and_nothing_is_overwritten(root):
    token = "hf_" + "q" * 30
    script = f"python launch.py --job_prefix=a --hf_token={token} --wandb_api_key=0123456789abcdef0123 --beta=0.1"
    said = program("-", "--root", str(root), text=script)
    text = "\n".join(file.read_text() for file in root.rglob("*.yaml")) + said.stdout + said.stderr
    assert token not in text and "0123456789abcdef" not in text
    assert "# --hf_token: dropped, give it in the environment as HF_TOKEN" in text
    assert read_yaml(root / "config/runs/a.yaml")["tracking"] == {"report_to": "wandb"}
    program("-", "--root", str(root), text=script)  # the same again is the same
    again = program("-", "--root", str(root), text=script.replace("0.1", "0.2").replace("train", "x"), check=False)
    assert again.returncode == 1 and "config/runs/a.yaml: exists already" in again.stderr


def test_a_flag_that_nobody_knows_is_a_todo():
    files, accounts = imported(
        commands_in("python launch.py --job_prefix=a --model_name=o/m --frobnicate=1", "x"), None
    )
    account = accounts["config/runs/a.yaml"]
    assert account.fates["frobnicate"].how == "TODO"
    assert any("frobnicate" in words for words in account.todo)
    assert "frobnicate" not in str(files)


def test_what_a_script_does_not_say_is_named():
    text = "python launch.py --job_prefix=a --model_name=o/m --learning_rate=$LR --instance_type=ml.odd.large"
    _, accounts = imported(commands_in(text, "x"), None)
    todo = accounts["config/runs/a.yaml"].todo
    assert "--learning_rate: $LR is a variable that the script does not set; write its value" in todo
    assert "training.global_batch_size: the GPUs of ml.odd.large are not known; 1 is taken" in todo
    with pytest.raises(HeirloomError, match="--instance_count: expected a whole number, found 'two'"):
        imported(commands_in(f"{text} --instance_count=two", "x"), None)


def test_the_former_command_names_this_program():
    command = [sys.executable, str(ROOT / "scripts/launch.py"), "--trainer_type=dpo", "--output_dir=x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "launch.py: --trainer_type is a flag of the tool before this one, whose runs are files now: `python "
        "scripts/import_command.py SCRIPT.sh` makes them of its commands (docs/migrating.md)\n"
    )


def test_the_page_maps_every_flag_class_and_file():
    page = (ROOT / "docs" / "migrating.md").read_text()
    flags = {flag for command in all_commands(NAMES) for flag in command.flags} | FORMER_NAMES.keys()
    assert sorted(flag for flag in flags if f"`--{flag}`" not in page) == []
    others = (
        "SageMakerArguments",
        "ScriptArguments",
        "InferenceArguments",
        "transformers.TrainingArguments",
        "launch.sh",
    )
    others += ("launch.py", "create_dataset.py", "unified_train.py", "orpo_train.py", "build_push_image.sh", "tee")
    assert [name for name in others if name not in page] == []
