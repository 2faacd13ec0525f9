"""How fast chats become token ids and masks, against the bare tokenizer and against TRL's own preparation.

    python benchmarks/data_speed.py [--rows 50000] [--trl-rows 2000] [--executions 5] [--output FILE]
    python benchmarks/data_speed.py --tokenizer DIR --data alpaca.json     # a real tokenizer, real rows

Without the latter, rows and tokenizer are made here.

bare    `encode_batch` of the `tokenizers` library over the same texts, already rendered and in memory
ours    all of create_dataset.py but loading the tokenizer: read, render, encode, mask, count, write
TRL     SFTTrainer's own preparation of the same chats, as prompt and completion, so that it masks prompts too

Every run is a process of its own, timed by the wall clock and by its processor time; the runs take turns, and the
result is their median, in tokens a second of either clock. The peak memory of `ours` is that of its processes, at a
fifth of the rows and at all of them.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from measuring import command_line, machine, write_result
from tokenizers import Encoding

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.dataset_creation import Creation
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.rows.chat_templates import ChatTemplate
from heirloom.data.rows.processing import instruction_processing_function
from heirloom.data.rows.tokenization import Tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "ka", "el", "in", "or", "un", "st")


def main() -> None:
    args = parse_arguments()
    if args.measure:
        print(json.dumps(measure(args.measure, args.data, args.tokenizer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        raw = {rows: write_rows(work / f"{rows}.jsonl", rows, args.data) for rows in (args.rows, args.rows // 5)}
        raw_for_trl = write_rows(work / "trl.jsonl", args.trl_rows, args.data) if args.trl_rows else None
        tokenizer = args.tokenizer or train_tokenizer(work, raw[args.rows])
        facts = machine("tokenizers", "transformers", "datasets", "pyarrow", "trl")
        results = {"machine": facts, "rows": args.rows, "rows_of_trl": args.trl_rows}
        results |= {"data": args.data.name if args.data else "made here", "tokenizer": tokenizer.name}
        runs: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "TRL": []}
        for _ in range(args.executions):  # in turns, so that a busy machine slows them alike
            runs["bare"].append(in_own_process("bare", raw[args.rows], tokenizer))
            runs["ours"].append(in_own_process("ours", raw[args.rows], tokenizer))
            if raw_for_trl:
                runs["TRL"].append(in_own_process("TRL", raw_for_trl, tokenizer))
        medians = {
            way: {name: statistics.median(run[name] for run in done) for name in done[0]}
            for way, done in runs.items()
            if done
        }
        results["medians"] = medians
        for clock in ("tokens_per_second", "tokens_per_processor_second"):
            results[f"ours_to_bare_by_{clock}"] = round(medians["ours"][clock] / medians["bare"][clock], 3)
        small = in_own_process("ours", raw[args.rows // 5], tokenizer)
        results["peak_memory_of_ours_mb"] = {
            str(args.rows // 5): small["peak_memory_mb"],
            str(args.rows): medians["ours"]["peak_memory_mb"],
        }
        results["runs"] = runs
    results["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(results, indent=2))
    write_result(args.output, results)


def in_own_process(way: str, raw: Path, tokenizer: Path) -> dict[str, float]:
    """Measure one run in a new process: nothing of another way lies in its memory or caches."""
    command = [sys.executable, __file__, "--measure", way, "--data", str(raw), "--tokenizer", str(tokenizer)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(way: str, raw: Path, folder: Path) -> dict[str, float]:
    """Time one run; what comes before it (loading, and for the others reading and rendering) is not counted."""
    tokenizer = Tokenizer(folder)
    if way == "ours":
        output = Path(tempfile.mkdtemp()) / "processed"

        def action() -> int:
            section = ProcessingSection(processing_function="instruction_processing_function", max_length=8192)
            return Creation(raw, tokenizer, section, None, "benchmark").write(output)["train"]["tokens"]
    else:
        chats = [instruction_processing_function(row)["messages"] for _, row in read_rows(find_raw_files(raw)[0])]
        template = ChatTemplate(tokenizer.chat_template(), tokenizer.special_tokens)
        texts = [template.render(messages) for messages in chats]

        def action() -> list[Encoding]:
            return tokenizer.backend.encode_batch(texts, add_special_tokens=False)

        if way == "TRL":
            action = trl_preparation(chats, tokenizer.transformers_tokenizer)
    wall, processor = time.perf_counter(), time.process_time()
    made = action()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    tokens = made if isinstance(made, int) else sum(map(len, made))
    status = Path("/proc/self/status").read_text()
    return {
        "tokens": tokens,
        "tokens_per_second": round(tokens / wall),
        "tokens_per_processor_second": round(tokens / processor),
        "peak_memory_mb": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024,
    }


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
    alphabet = pre_tokenizers.ByteLevel.alphabet()  # without it, bytes that the rows lack would make no token
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator((row["output"] for _, row in read_rows(find_raw_files(raw)[0])), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(work / "trained here")
    return work / "trained here"


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "data_speed")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer with a chat template")
    parser.add_argument("--data", type=Path, help="file of rows with instruction, input and output, to repeat")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--trl-rows", type=int, default=2_000, help="rows that TRL prepares; 0: leave TRL out")
    parser.add_argument("--executions", type=int, default=5, help="of each way")
    parser.add_argument("--measure", choices=("bare", "ours", "TRL"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
