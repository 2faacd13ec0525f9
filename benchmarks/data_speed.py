"""How fast chats become token ids and masks, against the bare tokenizer and against TRL's own preparation.

    python benchmarks/data_speed.py                                        # rows and a tokenizer made here
    python benchmarks/data_speed.py --tokenizer DIR --data alpaca.json     # a real tokenizer, real rows

bare    `encode_batch` of the `tokenizers` library over the same texts, already rendered and in memory
ours    all of create_dataset.py but loading the tokenizer: read, render, encode, mask, count, write
TRL     SFTTrainer's own preparation of the same chats, as prompt and completion, so that it masks prompts too

Every run is timed by the wall clock and by the processor time of the process, and tokens per second are medians.
The peak memory of `ours` is measured in processes of their own, at a fifth of the rows and at all of them.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from heirloom.chat_templates import ChatTemplate
from heirloom.config.processing import ProcessingSection
from heirloom.dataset_creation import Creation
from heirloom.processing import instruction_processing_function
from heirloom.raw_files import find_raw_files, read_rows
from heirloom.tokenization import Tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "ka", "el", "in", "or", "un", "st")


def main() -> None:
    args = parse_arguments()
    if args.measure_memory:
        write(args.measure_memory, Tokenizer(args.tokenizer), Path(tempfile.mkdtemp()) / "processed")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        raw = write_rows(work / "rows.jsonl", args.rows, args.data)
        tokenizer = args.tokenizer or train_tokenizer(work, raw)
        results = {"machine": machine(), "rows": args.rows, "data": args.data.name if args.data else "made here"}
        results |= {"tokenizer": tokenizer.name, "load_average_before": os.getloadavg()[0]}
        results |= compare(raw, tokenizer, work, args)
        results["peak_memory_of_ours_mb"] = {
            str(rows): peak_memory(write_rows(work / f"{rows}.jsonl", rows, args.data), tokenizer)
            for rows in (args.rows // 5, args.rows)
        }
    results["load_average_after"] = os.getloadavg()[0]
    text = json.dumps(results, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")


def compare(raw: Path, folder: Path, work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Time the three ways in turns, so that a busy machine slows them alike; TRL over the first rows only."""
    tokenizer = Tokenizer(folder)
    template = ChatTemplate(tokenizer.chat_template(), tokenizer.special_tokens)
    chats = [instruction_processing_function(row)["messages"] for _, row in read_rows(find_raw_files(raw)[0])]
    texts = [template.render(messages) for messages in chats]
    tokens = sum(len(encoding) for encoding in tokenizer.backend.encode_batch(texts, add_special_tokens=False))
    trl_chats = chats[: args.trl_rows]
    prepare = trl_preparation(trl_chats, tokenizer.transformers_tokenizer) if trl_chats else None
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "TRL": []}
    for number in range(args.repeats):
        runs["bare"].append(timed(tokens, lambda: tokenizer.backend.encode_batch(texts, add_special_tokens=False)))
        output = work / f"processed-{number}"
        runs["ours"].append(timed(tokens, lambda output=output: write(raw, tokenizer, output)))
        if prepare:
            runs["TRL"].append(timed(None, prepare))
    medians = {
        way: {name: round(statistics.median(run[name] for run in done)) for name in done[0]}
        for way, done in runs.items()
        if done
    }
    per_second = {way: [round(run["tokens_per_second"]) for run in done] for way, done in runs.items()}
    return {
        "tokens": tokens,
        "trl_rows": len(trl_chats),
        "medians": medians,
        "ours_to_bare_by_wall_clock": ratio(medians, "tokens_per_second"),
        "ours_to_bare_by_processor_time": ratio(medians, "tokens_per_processor_second"),
        "tokens_per_second_of_each_run": per_second,
    }


def ratio(medians: dict[str, dict[str, float]], name: str) -> float:
    return round(medians["ours"][name] / medians["bare"][name], 3)


def timed(tokens: int | None, action: Callable[[], Any]) -> dict[str, float]:
    """Run an action over `tokens` tokens (or as many as it returns) and return its speeds."""
    wall, processor = time.perf_counter(), time.process_time()
    made = action()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    count = made if tokens is None else tokens
    return {"tokens_per_second": count / wall, "tokens_per_processor_second": count / processor}


def write(raw: Path, tokenizer: Tokenizer, output: Path) -> None:
    """Process the rows as create_dataset.py does."""
    section = ProcessingSection(processing_function="instruction_processing_function", max_length=8192)
    Creation(raw, tokenizer, section, None, "benchmark").write(output)


def trl_preparation(chats: list[list[dict]], tokenizer: Any) -> Callable[[], int]:
    """Return what prepares the chats with TRL's own code; it returns the number of tokens."""
    import datasets
    from trl.trainer.sft_trainer import SFTTrainer

    datasets.disable_progress_bars()
    datasets.disable_caching()
    rows = datasets.Dataset.from_list([{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats])
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss=True)
    settings = {"max_length": 8192, "truncation_mode": "keep_start", "shuffle_dataset": False, "seed": 0}
    args = SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", assistant_only_loss=False, **settings)

    def prepare() -> int:
        prepared = SFTTrainer._prepare_dataset(trainer, rows, tokenizer, args, False, None, "train")
        return sum(map(len, prepared.with_format("numpy")["input_ids"]))

    return prepare


def peak_memory(raw: Path, tokenizer: Path) -> int:
    """Return the largest memory, in MB, of a process that only writes the dataset."""
    command = [sys.executable, __file__, "--measure-memory", str(raw), "--tokenizer", str(tokenizer)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]) // 1024


def write_rows(path: Path, rows: int, data: Path | None) -> Path:
    """Write instruction rows: of a file, repeated with other numbers and word orders, or of made-up words."""
    examples = [row for _, row in read_rows(find_raw_files(data)[0])] if data else list(made_up_rows(1000))
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = dict(examples[number % len(examples)])
            words = row["output"].split(" ")
            at = rng.randrange(len(words))
            row |= {"instruction": f"{number}. {row['instruction']}", "output": " ".join(words[at:] + words[:at])}
            file.write(json.dumps(row) + "\n")
    return path


def made_up_rows(count: int) -> Iterator[dict[str, str]]:
    """Yield rows of made-up words, as long as Alpaca's."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(5000)]

    def sentence(length: int) -> str:
        return " ".join(rng.choices(words, k=length)).capitalize() + "."

    for _ in range(count):
        answer = " ".join(sentence(rng.randint(5, 15)) for _ in range(rng.randint(1, 20)))
        yield {"instruction": sentence(12), "input": sentence(8) if rng.random() < 0.4 else "", "output": answer}


def train_tokenizer(work: Path, raw: Path) -> Path:
    """Train a byte-level tokenizer of 8,000 tokens on the rows."""
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Core(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=special, show_progress=False)
    core.train_from_iterator((row["output"] for _, row in read_rows(find_raw_files(raw)[0])), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(work / "trained here")
    return work / "trained here"


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    libraries = ("tokenizers", "transformers", "datasets", "pyarrow", "trl")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "versions": {library: version(library) for library in libraries},
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer with a chat template")
    parser.add_argument("--data", type=Path, help="file of rows with instruction, input and output, to repeat")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--trl-rows", type=int, default=2_000, help="rows that TRL prepares; 0: leave TRL out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file to write the results to")
    parser.add_argument("--measure-memory", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
