"""A tiny model, three tiny processed datasets, and how to launch a training script on them."""

import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from warm_start import OF_STAGES, warm_ranks, warm_workflow

from heirloom.launcher.environment import CPU_RANKS, ONE_MACHINE, REPRODUCIBLE

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "data"))  # loopback_hub
sys.path.append(str(ROOT / "tests" / "contract"))  # pseudo_terminal
LAUNCH = ROOT / "scripts" / "launch.py"
NAMES = ("Ada", "Bob", "Cem", "Dea", "Eli")
THINGS = ("a red kite", "a blue bowl", "a green boat", "a grey lamp")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MODEL_CONFIG = {
    "tokenizer": {
        "train_on": "text",
        "vocab_size": 300,
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "additional_special_tokens": ["<|user|>", "<|assistant|>"],
        "chat_template": "template.jinja",
    },
    "init": {
        "model_type": "llama",
        "hidden_size": 64,  # whole blocks of 4-bit weights, which every CPU reads alike
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "seed": 3,
    },
}


@dataclass(frozen=True)
class Workplace:
    """A folder in which scripts run as in a repository; configuration files are JSON, which is YAML too.

    `warm`: torchrun and its ranks begin with their libraries loaded; for tests that ask nothing about how they begin,
    or are ended.
    """

    folder: Path
    warm: bool = False

    def launch(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        """Run `launch.py COMMAND` here to its end."""
        return self.run(str(LAUNCH), *command, check=check, **variables)

    def run(
        self, *words: str, check: bool = True, seconds: float = 240, **variables: str
    ) -> subprocess.CompletedProcess:
        """Run `python WORDS` here to its end; what it prints is all in `stdout`."""
        # not where variables are given: libraries read some as they are loaded
        warm = self.warm and words[:2] == (str(LAUNCH), "torchrun") and not variables
        done = subprocess.run(
            [self.python(warm), *words],
            cwd=self.folder,
            env=environment(**(warm_ranks() if self.warm else {}), **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-8000:]
        return done

    def python(self, warm: bool) -> str:
        """Return the Python that a program begins with."""
        return str(warm_workflow(*OF_STAGES) / "python") if warm else sys.executable

    def start(self, *command: str, **variables: str) -> subprocess.Popen:
        """Run `launch.py COMMAND` here in the background, in a session of its own; see `said_by`.

        Whoever looks at its ranks' processes wants a workplace that is not warm: there others stand for them.
        """
        with tempfile.TemporaryFile() as said:
            launcher = subprocess.Popen(
                [self.python(self.warm), str(LAUNCH), *command],
                cwd=self.folder,
                env=environment(**(warm_ranks() if self.warm else {}), **variables),
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            launcher.said = os.dup(said.fileno())
        return launcher

    def said_by(self, launcher: subprocess.Popen) -> str:
        """Return what a launcher that `start` gave has printed so far."""
        return os.pread(launcher.said, 1 << 24, 0).decode()

    def config(self, name: str, **sections: dict) -> str:
        """Write a configuration file and return its name."""
        (self.folder / name).write_text(json.dumps(sections))
        return name

    def torchrun(self, script: str, jobs: list, ranks: int = 2) -> str:
        """Run tests/training/SCRIPT, which does `jobs` one after the other, on ranks; return what it printed."""
        file = self.folder / f"{Path(script).stem}-{len(list(self.folder.glob('*.json')))}.json"
        file.write_text(json.dumps(jobs))
        words = ("-m", "torch.distributed.run", "--nproc-per-node", str(ranks), str(Path(__file__).with_name(script)))
        variables = {**CPU_RANKS, **ONE_MACHINE, **REPRODUCIBLE, "TOKENIZERS_PARALLELISM": "false"}
        return self.run(*words, str(file), seconds=580, **variables).stdout

    def training(self, script: str, output: str, *, zero: str = "zero2", dataset: str, base: str, **sections) -> list:
        """Return the launcher's arguments for a training script that writes checkpoints/OUTPUT and so on."""
        config = self.config(f"{output.replace('/', '-')}.yaml", **sections)
        own = ",".join(name for name in sections if name not in ("tracking", "resources"))
        return [
            *("torchrun", str(ROOT / "scripts" / script), "--config", config, "--sections", own),
            *("--dataset", dataset, "--base", base, "--deepspeed", str(ROOT / "config" / "deepspeed" / f"{zero}.json")),
            *("--output", f"{output}/checkpoint", "--metrics", f"{output}/metrics.json"),
            *("--loss", f"{output}/loss.csv"),
        ]


def environment(**variables: str) -> dict[str, str]:
    hidden = ("DVC_STAGE", "HEIRLOOM_WORK_DIR", "HEIRLOOM_IDENTITY", "WANDB_API_KEY", "WANDB_MODE")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**inherited, "HF_HUB_OFFLINE": "1", **variables}


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under `folder` by relative name, without the notes that tell when it was made."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.match(".*.made")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def make_workplace(folder: Path) -> Workplace:
    """Make raw text, tokenizer, model, and processed datasets of each kind in `folder`, by the real scripts."""
    place = Workplace(folder)
    rng = random.Random(0)
    (folder / "raw").mkdir()
    sentences = [f"{rng.choice(NAMES)} has {rng.choice(THINGS)}. " * rng.randint(1, 3) for _ in range(400)]
    (folder / "raw" / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences))
    (folder / "template.jinja").write_text(TEMPLATE)
    config = place.config("model.yaml", **MODEL_CONFIG)
    scripts = ROOT / "scripts"
    place.launch(
        *("python", str(scripts / "create_tokenizer.py"), "--config", config, "--sections", "tokenizer"),
        *("--raw", "raw", "--output", "tokenizer"),
    )
    place.launch(
        *("python", str(scripts / "create_model.py"), "--config", config, "--sections", "init"),
        *("--tokenizer", "tokenizer", "--output", "model"),
    )
    write_datasets(folder, sentences)
    return place


def chats(count: int, seed: int) -> list[tuple[list[dict], list[dict]]]:
    """Return pairs (prompt, answer) as lists of messages."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        question = [{"role": "user", "content": f"{name} has {thing}. " * rng.randint(1, 2) + f"What has {name}?"}]
        pairs.append((question, [{"role": "assistant", "content": f"{name} has {thing}."}]))
    return pairs


def preference_texts() -> list[dict[str, list[dict]]]:
    """Return the pairs of the preference dataset, in its order and before they were tokenized."""
    texts = []
    for prompt, answer in chats(160, seed=1):
        curt = [{"role": "assistant", "content": answer[0]["content"].split(" has ")[1]}]
        texts.append({"prompt": prompt, "chosen": answer, "rejected": curt})
    return texts


def write_datasets(folder: Path, sentences: list[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    joined = [token for text in sentences for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    packed = [{"input_ids": joined[start : start + 32]} for start in range(0, len(joined) - 32, 32)]
    write_dataset(folder / "text", "text", packed[:-9], packed[-9:])

    def rendered(messages: list[dict], **kwargs) -> list[int]:
        return tokenizer.apply_chat_template(messages, return_dict=False, **kwargs)

    chat_rows, preference_rows = [], []
    for text in preference_texts():
        prompt_ids = rendered(text["prompt"], add_generation_prompt=True)
        row = rendered(text["prompt"] + text["chosen"])
        chat_rows.append({"input_ids": row, "labels": [-100] * len(prompt_ids) + row[len(prompt_ids) :]})
        rejected = rendered(text["prompt"] + text["rejected"])[len(prompt_ids) :]
        chosen = row[len(prompt_ids) :]
        preference_rows.append({"prompt_ids": prompt_ids, "chosen_ids": chosen, "rejected_ids": rejected})
    write_dataset(folder / "chat", "chat", chat_rows[:-11], chat_rows[-11:])
    write_dataset(folder / "preference", "preference", preference_rows[:-11], preference_rows[-11:])


def write_dataset(folder: Path, kind: str, train: list[dict], test: list[dict]) -> None:
    from datasets import Dataset

    for split, rows in (("train", train), ("test", test)):
        Dataset.from_list(rows).save_to_disk(folder / split)
    (folder / "dataset.json").write_text(json.dumps({"kind": kind, "max_length": 64}))


TRAINING = {"learning_rate": 3e-3, "global_batch_size": 16, "per_device_train_batch_size": 4, "max_steps": 12}
WATCHED = {"logging_steps": 3, "save_steps": 4}
UNWATCHED = {"logging_steps": 100, "save_steps": 100}
RUNS = {
    "pretrain": ("train.py", "text", "model"),
    "sft": ("sft_train.py", "chat", "runs/pretrain/checkpoint"),
    "dpo": ("dpo_train.py", "preference", "runs/sft/checkpoint"),
}


def training_command(place: Workplace, name: str, output: str, tracking: dict, zero: str = "zero2") -> list[str]:
    """Return the launcher's arguments for one of RUNS, into folder `output`."""
    script, dataset, base = RUNS[name]
    return place.training(script, output, zero=zero, dataset=dataset, base=base, training=TRAINING, tracking=tracking)
