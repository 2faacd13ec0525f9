"""docs/tutorial.md, command by command: a tiny model and a few rows stand where the reader's own do.

Beside the page's two runs a third one answers from a dataset that `create_dataset.py` made elsewhere (docs/data.md).
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from demo_clone import REPOSITORY, Demo, hashes
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from heirloom.data.datasets_by_hand import create_by_hand
from heirloom.models.tokenizer_training import train_bpe

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
ELSEWHERE = {
    "config/datasets/elsewhere.yaml": "tokenizer: smollm2\nsource: {processed: made_elsewhere, kind: chat}\n",
    "config/runs/other-rows.yaml": "base: assistant\ngeneration: {dataset: elsewhere, max_new_tokens: 1, limit: 2}\n",
}


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
    """A clone in which the page is followed; `said` holds what each block of commands printed."""

    def __init__(self, demo: Demo) -> None:
        self.demo, self.said = demo, []

    def follow(self) -> None:
        for language, text in BLOCKS:
            if language == "yaml":
                first, _, content = text.partition("\n")
                self.demo.write(first.removeprefix("# "), content)
            elif language == "sh":
                if text.startswith("snakemake -n\n"):
                    self.made_elsewhere()
                self.said.append((text, self.typed(text)))

    def typed(self, text: str) -> str:
        """Return what a block prints. Nothing is installed: the environment is there."""
        there = f"ln -sfn {shlex.quote(sys.prefix)} .venv\nmake clone-settings\n"
        script = text.replace("make setup\n", there)
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.demo.folder, env=self.demo.environment, input="Say one in Latin.\n",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-8000:]}"
        return done.stdout

    def made_elsewhere(self) -> None:
        """Make a dataset by hand, with the model's tokenizer, and a run that answers from it."""
        folder = self.demo.folder
        places = f"--model-id={folder}/my_models/smollm2", f"--dataset-name={folder}/my_data/questions.json"
        rows = "--processing-function=instruction_processing_function", "--max-length=64", "--test-rows=5"
        create_by_hand([str(folder / "made_elsewhere"), *places, *rows])
        self.demo.run("dvc", "add", "--quiet", "made_elsewhere")
        self.demo.run("git", "add", "made_elsewhere.dvc", ".gitignore")
        for name, text in ELSEWHERE.items():
            self.demo.write(name, text)

    def of(self, command: str) -> str:
        """Return what the first block with a command printed."""
        return next(said for text, said in self.said if f"\n{command}" in f"\n{text}")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has typed the whole page, where each stage is one process that has its libraries already."""
    home = tmp_path_factory.mktemp("reader")
    demo = Demo.create(home / "heirloom", home)
    with demo.warm_start() as warm:
        yield following(demo.warmed(warm))


def following(demo: Demo) -> Reader:
    """Put the reader's model and rows into a clone, and follow the page."""
    for who in ("AUTHOR", "COMMITTER"):
        demo.environment |= {f"GIT_{who}_NAME": "reader", f"GIT_{who}_EMAIL": "reader@example.org"}
    write_model(demo.folder / "my_models/smollm2")
    (demo.folder / "my_data").mkdir()
    for name, rows in (("questions", QUESTIONS), ("pairs", PAIRS)):
        demo.write(f"my_data/{name}.json", json.dumps(rows))
    reader = Reader(demo)
    reader.follow()
    return reader


def test_rows_are_looked_at_before_anything_is_made(reader: Reader) -> None:
    said = reader.of("python scripts/add_dataset.py")
    assert "wrote config/datasets/questions.yaml: instruction_processing_function" in said
    assert "wrote config/datasets/pairs.yaml: sharegpt_rlhf_processing_function" in said
    assert "«one, that is all.<|im_end|>»" in said and "a colleague needs" not in said


def test_both_runs_are_made_scored_and_shown(reader: Reader) -> None:
    folder, said = reader.demo.folder, reader.of("snakemake -n")
    assert "run     smollm2: tokenizer, model" in said
    assert not re.search(r"\bis in this clone only\b.*my_", said)
    for name in ("assistant", "assistant-dpo"):
        assert (folder / "checkpoints" / name / "model.safetensors").is_file()
        assert 0 < len((folder / "generations" / name / "generations.jsonl").read_text().splitlines()) <= 4
        assert (folder / "reports" / f"{name}.html").is_file()
    scores = reader.of("python scripts/show_scores.py")
    for row in (r"assistant +sft", r"assistant-dpo +dpo", r"preference\.accuracy"):
        assert re.search(row, scores), scores
    assert (folder / "reports/index.html").is_file()
    assert "> " in reader.of("python scripts/chat.py")


def test_what_was_made_elsewhere_is_the_same_dataset_in_the_workflow(reader: Reader) -> None:
    folder = reader.demo.folder
    there, here = (hashes(folder / place) for place in ("made_elsewhere", "data/processed/elsewhere"))
    assert {name: there[name] for name in there if "/" in name} == {name: here[name] for name in here if "/" in name}
    lines = (folder / "generations/other-rows/generations.jsonl").read_text().splitlines()
    assert [json.loads(line)["dataset"] for line in lines] == ["elsewhere", "elsewhere"]


def test_a_colleague_has_it_all_and_nothing_to_do(reader: Reader) -> None:
    said = reader.of("git clone")
    assert "my_models/smollm2.dvc: restored" in said and "train-assistant-dpo: restored" in said
    assert re.search(r"^0 to run, 0 after them, 0 to restore, ", said, re.MULTILINE), said


def test_an_answer_leads_to_its_row_and_is_made_again(reader: Reader) -> None:
    said = reader.of("make trace")
    assert "my_data/questions.json" in said and "checkpoints/assistant-dpo" in said
    assert re.search(r"^same +generations/assistant-dpo ", said, re.MULTILINE), said


def test_the_page_has_no_command_that_is_not_executed() -> None:
    languages = {language for language, _ in BLOCKS}
    assert languages == {"sh", "yaml", "text"}
    assert sum("make setup\n" in text for language, text in BLOCKS if language == "sh") == 2
