"""docs/tutorial.md, command by command: a tiny model and a few rows stand where the reader's own do.

Beside the page's two runs stand those that import_command.py makes of two commands of the former tool's README,
verbatim: model and data are at their paths on S3, the data made there by `create_dataset.py` (docs/migrating.md).
The page begins with a project of its reader's, which then is upgraded as its README says.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from demo_clone import REPOSITORY, Demo, hashes
from moto.server import ThreadedMotoServer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from warm_start import OF_STAGES, warm_environment

from heirloom.config.parsing.reading import read_yaml
from heirloom.data.datasets_by_hand import create_by_hand
from heirloom.models.tokenizer_training import train_bpe
from new_project import name_remote

BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```", (REPOSITORY / "docs" / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTIONS = [
    {"instruction": f"Say {number} in {tongue}.", "input": "", "output": f"{number}, that is all."}
    for number in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    for tongue in ("Latin", "Dutch", "Greek", "Welsh", "Norse", "Khmer", "Tamil", "Irish", "Farsi", "Hausa", "Malay")
]
PAIRS = [
    {
        "conversations": [{"from": "human", "value": row["instruction"]}],
        "chosen": {"from": "gpt", "value": row["output"]},
        "rejected": {"from": "gpt", "value": "No."},
    }
    for row in QUESTIONS
]
FORMER = REPOSITORY / "tests" / "unit" / "former_commands"
BUCKETS = ("deepspeed_test_datasets", "llama3", "deepspeed-inference")
"""What these commands name."""
ELSEWHERE = {
    "tokenizer": "meta-llama-3-8b-instruct",
    "source": {"processed": "s3://deepspeed_test_datasets", "kind": "chat"},
}
"""What the importer says is to be written where a command names a product of `create_dataset.py`."""
SHORT = {
    "llm-training": {"training": {"max_steps": 2, "global_batch_size": 16, "learning_rate": 1e-3}},
    "llm-inference": {"generation": {"eos_tokens": "<|im_end|>", "max_new_tokens": 4, "default_dtype": "float32"}},
}
"""What the tiny model needs of another kind; and a CPU has no float16."""
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
NOT_HERE = ("fp16", "num_train_epochs")


def write_model(folder: Path) -> None:
    """Write a model of one layer with a chat template, as its maker would."""
    texts = [text for row in QUESTIONS for text in (row["instruction"], row["output"])]
    backend = train_bpe(texts, 300, ["<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_start|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)


class Reader:
    """Somebody who follows the page from a clone on; `said` holds what each block of commands printed."""

    def __init__(self, upstream: Demo, home: Path, s3: Any) -> None:
        self.s3, self.upstream, self.folder, self.said = s3, upstream, upstream.folder, []
        self.project = Demo(home / "mine", home)
        self.project.environment = upstream.environment

    def follow(self) -> None:
        for language, text in BLOCKS:
            if language == "yaml":
                first, _, content = text.partition("\n")
                self.project.write(first.removeprefix("# "), content)
            elif language == "sh":
                if text.startswith("snakemake -n\n") and (self.folder / "config/datasets/pairs.yaml").exists():
                    self.made_elsewhere()
                if "dvc add my_data/pairs.json" in text:
                    self.project.write("my_data/pairs.json", json.dumps(PAIRS))
                self.said.append((text, self.typed(text)))
                if "make new-project" in text:
                    self.put_model_and_rows()

    def typed(self, text: str) -> str:
        """Return what a block prints; the next begins where it ends. Nothing is installed: the environment is there."""
        there = f"ln -sfn {shlex.quote(str(warm_environment(*OF_STAGES)))} .venv\nmake clone-settings\n"
        script = re.sub(r"^make setup.*\n", there, text, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=self.project.environment, input="Say one in Latin.\n",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-8000:]}"
        for place in re.findall(r"^cd (\S+)$", text, re.MULTILINE):
            self.folder = (self.folder / place).resolve()
        return done.stdout

    def put_model_and_rows(self) -> None:
        """Put the reader's model and rows where the page says."""
        write_model(self.folder / "my_models/smollm2")
        self.project.write("my_data/questions.jsonl", "".join(f"{json.dumps(row)}\n" for row in QUESTIONS))

    def made_elsewhere(self) -> None:
        """Put model and data where the former commands have them, and import these."""
        for bucket in BUCKETS:
            self.s3.create_bucket(Bucket=bucket)
        model = self.folder / "my_models/smollm2"
        for file in model.iterdir():
            self.s3.upload_file(str(file), "llama3", f"Meta-Llama-3-8B-Instruct/{file.name}")
        rows = "--processing-function=instruction_processing_function", "--max-length=64", "--test-rows=5"
        places = f"--model-id={model}", f"--dataset-name={self.folder}/my_data/questions.jsonl"
        with pytest.MonkeyPatch.context() as here:
            for name in ("AWS_ENDPOINT_URL", *KEYS):
                here.setenv(name, self.project.environment[name])
            create_by_hand(["s3://deepspeed_test_datasets", *places, *rows])
        commands = (str(FORMER / f"{name}.sh") for name in ("training", "inference"))
        self.project.run(sys.executable, "scripts/import_command.py", *commands)
        for name, changes in SHORT.items():
            run = read_yaml(self.folder / f"config/runs/{name}.yaml")
            for section, values in changes.items():
                run[section] = {key: value for key, value in run[section].items() if key not in NOT_HERE} | values
            self.project.write(f"config/runs/{name}.yaml", json.dumps(run))
            self.project.write(f"config/datasets/{name}-data.yaml", json.dumps(ELSEWHERE))

    def of(self, command: str) -> str:
        """Return what the first block with a command printed."""
        return next(said for text, said in self.said if f"\n{command}" in f"\n{text}")


@contextmanager
def s3_of(demo: Demo) -> Iterator[Any]:
    """Let what runs in a clone reach an S3 of this process; yields a client."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    demo.environment |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "NO_PROXY": host, **KEYS}
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    yield boto3.client("s3", endpoint_url=demo.environment["AWS_ENDPOINT_URL"], **keys)
    server.stop()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has typed the whole page, where each stage is one process that has its libraries already."""
    home = tmp_path_factory.mktemp("reader")
    demo = Demo.create(home / "heirloom", home)
    with s3_of(demo) as s3:
        for who in ("AUTHOR", "COMMITTER"):
            demo.environment |= {f"GIT_{who}_NAME": "reader", f"GIT_{who}_EMAIL": "reader@example.org"}
        reader = Reader(demo.warmed(), home, s3)
        reader.follow()
        yield reader


def test_rows_are_looked_at_before_anything_is_made(reader: Reader) -> None:
    said = reader.of("python scripts/add_dataset.py")
    assert "wrote config/datasets/questions.yaml: instruction_processing_function" in said
    pairs = reader.of("dvc add my_data/pairs.json")
    assert "wrote config/datasets/pairs.yaml: sharegpt_rlhf_processing_function" in pairs
    assert "«one, that is all.<|im_end|>»" in said and "a colleague needs" not in said


def test_both_runs_are_made_scored_and_shown(reader: Reader) -> None:
    folder, said = reader.project.folder, reader.of("snakemake -n")
    assert "run     smollm2: tokenizer, model" in said
    assert not re.search(r"\bis in this clone only\b.*my_", said)
    for name in ("assistant", "assistant-dpo"):
        assert (folder / "checkpoints" / name / "adapter_model.safetensors").is_file()
        assert 0 < len((folder / "generations" / name / "generations.jsonl").read_text().splitlines()) <= 4
        assert (folder / "reports" / f"{name}.html").is_file()
    scores = reader.of("make report")
    for row in (r"assistant +sft", r"assistant-dpo +dpo", r"preference\.accuracy"):
        assert re.search(row, scores), scores
    assert (folder / "reports/index.html").is_file()
    assert "> " in reader.of("python scripts/chat.py")


def test_former_commands_run_to_the_end_on_what_lies_on_s3(reader: Reader) -> None:
    folder = reader.project.folder
    for name in SHORT:
        here = hashes(folder / f"data/processed/{name}-data")
        for file, content in here.items():
            if "/" in file:
                there = reader.s3.get_object(Bucket="deepspeed_test_datasets", Key=file)["Body"].read()
                assert content == there, file
        assert {file.partition("/")[0] for file in here} >= {"train", "test"}
    losses = (folder / "metrics/loss/llm-training.csv").read_text().splitlines()
    assert len([line for line in losses[1:] if line]) >= 2
    assert (folder / "checkpoints/llm-training/model.safetensors").is_file()
    text = (folder / "generations/llm-inference/generations.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["dataset"] for line in lines] == ["llm-inference-data"] * 5
    assert all(0 < line["completion_tokens"] <= 4 for line in lines)
    copies = reader.s3.list_objects_v2(Bucket="deepspeed-inference", Prefix="test/")["Contents"]
    assert any(item["Key"].endswith("generations.jsonl") for item in copies)


def test_a_colleague_has_it_all_and_nothing_to_do(reader: Reader) -> None:
    said = reader.of("git clone")
    assert "my_models/smollm2.dvc: restored" in said and "train-assistant: restored" in said
    assert re.search(r"^0 to run, 0 after them, 0 to restore, ", said, re.MULTILINE), said


def test_an_answer_leads_to_its_row_and_is_made_again(reader: Reader) -> None:
    said = reader.of("make trace")
    assert "my_data/questions.jsonl" in said and "checkpoints/assistant-dpo" in said
    assert re.search(r"^same +generations/assistant-dpo ", said, re.MULTILINE), said
    assert not re.search(r"^error: ", said, re.MULTILINE), said  # of the model and rows that came by `dvc add`


def test_a_project_has_an_example_and_a_check_that_pass(reader: Reader) -> None:
    folder = reader.project.folder
    assert sorted(path.name for path in (folder / "config/runs").glob("*.yaml") if "assistant" not in path.name) == [
        "example.yaml",
        "llm-inference.yaml",
        "llm-training.yaml",
    ]
    workflow = read_yaml(folder / ".github/workflows/check.yaml")
    commands = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    example = "sed -i 's/^enabled: false/enabled: true/' config/runs/example.yaml"
    said = reader.typed("\n".join([*commands, example, "python workflow/pipeline plan", "git checkout -q config", ""]))
    assert "0 to run, 0 after them" in said
    assert re.search(r"^run +example: baseline, scores, train, generate, evaluate, report ", said, re.MULTILINE), said


def test_the_demo_runs_in_a_project_beside_its_own_work(reader: Reader) -> None:
    said = reader.typed(
        "workflow/demo_clone.sh .heirloom/demo $PWD/.venv/bin/python\n"
        "python .heirloom/demo/workflow/pipeline plan --stages\ngit status --short\n"
    )
    assert {line.split()[1] for line in said.splitlines() if line.startswith("run ")} >= {"train-demo-sft"}
    assert "assistant" not in said and " M " not in said


def test_an_upgrade_meets_nothing_of_the_users(reader: Reader) -> None:
    """Also where both sides wrote: README, .gitignore, .dvc/config, dvc.yaml; then nothing is made again."""
    upstream, mine = reader.upstream, reader.project
    for name in ("README.md", ".gitignore", ".dvc/config", "CHANGELOG.md", "config/README.md", "docs/tutorial.md"):
        text = (upstream.folder / name).read_text()
        upstream.write(name, f"{text}    autostage = false\n" if name == ".dvc/config" else f"{text}\n/upstream\n")
    for name in ("demo/runs/demo-sft", "examples/runs/llama3-sft"):
        file = upstream.folder / f"config/{name}.yaml"
        upstream.write(f"config/{name}.yaml", file.read_text().replace("learning_rate: 2.0e-", "learning_rate: 3.0e-"))
    upstream.write("config/demo/runs/demo-more.yaml", "base: demo-sft\ngeneration: {dataset: demo-chat}\n")
    upstream.run(sys.executable, "workflow/pipeline", "write")
    upstream.commit("a later version")
    assert "generate-demo-more" in (upstream.folder / "dvc.yaml").read_text()

    mine.write(".gitignore", (mine.folder / ".gitignore").read_text() + "/scratch/\n")
    config = mine.folder / ".dvc/config"
    name_remote(config, "s3://bucket/prefix")
    mine.write("README.md", (mine.folder / "README.md").read_text() + "\nOf our own.\n")
    mine.commit("of our own")
    ours = {path: (mine.folder / path).read_text() for path in mine.git("ls-files", "config").splitlines()}
    ours["README.md"] = (mine.folder / "README.md").read_text()
    (block,) = re.findall(r"^## Upgrade\n+```sh\n(.*?)^```", ours["README.md"], re.MULTILINE | re.DOTALL)
    said = reader.typed(block)
    assert "CONFLICT" not in said and re.search(r"^0 to run, 0 after them, 0 to restore, ", said, re.MULTILINE), said
    theirs = {"config/README.md", *(path for path in ours if path.startswith(("config/demo/", "config/examples/")))}
    for path in ours.keys() - theirs:
        assert (mine.folder / path).read_text() == ours[path]
    assert "3.0e-" in (mine.folder / "config/demo/runs/demo-sft.yaml").read_text()
    assert {"/scratch/", "/upstream"} <= set((mine.folder / ".gitignore").read_text().splitlines())
    settings = config.read_text()
    assert "s3://bucket/prefix" in settings and "autostage = false" in settings
    assert "demo-more" not in (mine.folder / "dvc.yaml").read_text()
    assert mine.git("status", "--porcelain", "--untracked-files=no") == ""
    assert len(mine.git("show", "--no-patch", "--format=%P").split()) == 2  # one commit, a merge


def test_a_version_of_equal_bytes_is_free_and_one_of_other_bytes_is_told(reader: Reader) -> None:
    """The project's results are kept where they would be the same, and its reader hears why where they would not."""
    mine = reader.project
    (block,) = re.findall(r"^## Upgrade\n+```sh\n(.*?)^```", (mine.folder / "README.md").read_text(), re.M | re.S)
    code, changes = "scripts/heirloom/data/test_splits.py", "CHANGELOG.md"

    new_version(reader.upstream, "a harmless version", (code, "mixed(", "spread("))
    reader.typed(block)
    assert {"process-questions", "process-pairs", "train-assistant"} <= set(mine.plan())
    said = upgraded(mine)
    assert re.search(r"^same bytes: .*\bprocess-questions\b", said, re.MULTILINE), said
    assert re.search(r"^same bytes: .*\bprocess-pairs\b", said, re.MULTILINE), said
    assert "unproven: process-llm-inference-data, process-llm-training-data: it fetches from outside" in said
    reader.typed("make accept STAGE='process-llm-*' REASON='they are checked as before'\n")
    assert mine.plan() == [] and "up to date" in mine.run("dvc", "status")
    mine.commit("upgraded")

    told = "other bytes: the test split is another one"
    edits = [(changes, "`process`: same bytes", f"`process`: {told}")]
    edits += [(code, "(self.groups(), self.seed)", "(self.groups(), self.seed + 1)")]
    new_version(reader.upstream, "a version that draws other rows", *edits)
    reader.typed(block)
    said = upgraded(mine)
    assert re.search(r"^other bytes: .*\bprocess-questions\b", said, re.MULTILINE), said
    assert told in said
    assert {"process-questions", "train-assistant"} <= set(mine.plan())


def upgraded(project: Demo) -> str:
    """Return what `make upgrade` says that leaves something."""
    done = subprocess.run(
        ["make", "upgrade"], cwd=project.folder, env=project.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr  # make's own, of a command that failed
    return done.stdout


def new_version(upstream: Demo, message: str, *edits: tuple[str, str, str]) -> None:
    """Commit edits (file, old, new) where a project's upgrades come from."""
    for name, old, new in edits:
        text = (upstream.folder / name).read_text()
        assert old in text
        upstream.write(name, text.replace(old, new))
    upstream.run(sys.executable, "workflow/pipeline", "write")
    upstream.commit(message)


def test_the_page_has_no_command_that_is_not_executed() -> None:
    languages = {language for language, _ in BLOCKS}
    assert languages == {"sh", "yaml", "text"}
    assert sum("make setup\n" in text for language, text in BLOCKS if language == "sh") == 2
