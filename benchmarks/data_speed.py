"""What making token ids and masks costs: CPU time and memory, against the bare tokenizer, TRL and axolotl's way.

    python benchmarks/data_speed.py [--rows 50000] [--trl-rows 2000] [--executions 5] [--output FILE]
    python benchmarks/data_speed.py --tokenizer DIR --data alpaca.json     # a real tokenizer, real rows

Without the latter, rows and tokenizer are made here.

bare           `encode_batch` of the `tokenizers` library over the same texts, already rendered and in memory
ours           all of create_dataset.py but loading the tokenizer: read, render, encode, mask, count, write
TRL            SFTTrainer's own preparation of the same chats, as prompt and completion, so that it masks prompts too
axolotl_like   each chat rendered and tokenized whole, and once more up to each answer's beginning and end

Rows as long as Alpaca's and short ones; one chat of many messages, the first of its kind; one text of many megabytes.
Every run is a process of its own, timed by the wall clock and by its processor time; the runs take turns, and the
result is their median, and the least of all, to which other programs on the machine add least. What the first row
costs (imports) is the start-up and counted apart.
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
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from measuring import command_line, machine, write_result

from heirloom.config.sections.processing import ProcessingSection
from heirloom.data.chats.chat_templates import ChatTemplate
from heirloom.data.dataset_creation import BATCH_ROWS, Creation
from heirloom.data.raw.data_folders import find_raw_files
from heirloom.data.raw.raw_files import read_rows
from heirloom.data.rows import processing
from heirloom.data.rows.tokenization import Tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SHORT_ANSWER = 14  # words
MARKS = {"ascii": "", "quotes": "“", "emoji": "\U0001f600"}
FUNCTIONS = {
    "messages": "dummy_processing_function",
    "instruction": "instruction_processing_function",
    "text": "plain_text_processing_function",
}
SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "ka", "el", "in", "or", "un", "st")


def main() -> None:
    args = parse_arguments()
    if args.measure:
        print(json.dumps(measure(args.measure, args.data, args.tokenizer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tokenizer = args.tokenizer or train_tokenizer(work, write_rows(work / "tokenizer.jsonl", 1000, args.data))
        results = {"machine": machine("tokenizers", "transformers", "datasets", "pyarrow", "trl")}
        results |= {"data": args.data.name if args.data else "made here", "tokenizer": tokenizer.name}
        for name, words in (("long_rows", None), ("short_rows", SHORT_ANSWER)):
            results[name] = compared(work, args, tokenizer, words)
        results["one_chat_cpu_s"] = {str(count): one_chat(work, tokenizer, count) for count in args.messages}
        results["one_document"] = {
            mark: one_document(work, tokenizer, args.document_mb, MARKS[mark]) for mark in args.documents
        }
    results["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(results, indent=2))
    write_result(args.output, results)


def compared(work: Path, args: argparse.Namespace, tokenizer: Path, words: int | None) -> dict[str, Any]:
    """Return how fast each way prepares the same rows; `words`: the most of an answer."""
    sizes = {"bare": args.rows, "ours": args.rows, "TRL": args.trl_rows, "axolotl_like": args.trl_rows}
    raw = {size: write_rows(work / f"{size}-{words}.jsonl", size, args.data, words) for size in set(sizes.values())}
    runs: dict[str, list[dict[str, float]]] = {way: [] for way, size in sizes.items() if size}
    for _ in range(args.executions):  # in turns, so that a busy machine slows them alike
        for way, done in runs.items():
            done.append(in_own_process(way, raw[sizes[way]], tokenizer))
    result: dict[str, Any] = {"rows": args.rows, "rows_of_others": args.trl_rows}
    result["tokens_a_row"] = round(runs["ours"][0]["tokens"] / args.rows, 1)
    result["medians"] = {
        way: {name: statistics.median(run[name] for run in done) for name in done[0]} for way, done in runs.items()
    }
    bare, ours = (result["medians"][way]["cpu_us_a_row"] for way in ("bare", "ours"))
    result["cpu_of_ours_to_bare"] = round(ours / bare, 3)
    result["cpu_of_ours_to_bare_least"] = round(
        min(run["cpu_us_a_row"] for run in runs["ours"]) / min(run["cpu_us_a_row"] for run in runs["bare"]), 3
    )
    fifth = write_rows(work / f"fifth-{words}.jsonl", args.rows // 5, args.data, words)
    small = in_own_process("ours", fifth, tokenizer)
    result["peak_memory_of_ours_mb"] = {
        str(args.rows // 5): small["peak_memory_mb"],
        str(args.rows): result["medians"]["ours"]["peak_memory_mb"],
    }
    return result | {"runs": runs}


def one_chat(work: Path, tokenizer: Path, messages: int) -> dict[str, float]:
    """Return the CPU seconds of a chat of so many messages of 20 words, the first of its kind."""
    rng = random.Random(0)
    roles = [("user", "assistant")[at % 2] for at in range(messages)]
    chat = [{"role": role, "content": " ".join(rng.choices(SYLLABLES, k=20))} for role in roles]
    raw = work / f"chat-{messages}.jsonl"
    raw.write_text(json.dumps({"messages": chat}) + "\n", encoding="utf-8")
    return {way: in_own_process(way, raw, tokenizer)["cpu_s"] for way in ("bare", "ours", "axolotl_like")}


def one_document(work: Path, tokenizer: Path, megabytes: float, mark: str) -> dict[str, float]:
    """Return the memory and CPU seconds that one long text takes, above those of a short one.

    One word of 2,000 begins with `mark`, by which Python takes one, two or four bytes for each character.
    """
    rng = random.Random(0)
    words = [word for row in made_up_rows(200) for word in row["output"].split(" ")][:2000]
    words[0] = mark + words[0]
    text = " ".join(rng.choices(words, k=int(megabytes * 1e6 / (sum(map(len, words)) / len(words) + 1))))
    raw = work / "document.jsonl"
    lines = (json.dumps({"text": each}, ensure_ascii=False) + "\n" for each in (text[:1000], text))  # one for the start
    raw.write_text("".join(lines), encoding="utf-8")
    run = in_own_process("ours", raw, tokenizer)
    above, size = run["peak_memory_mb"] - run["peak_memory_before_mb"], len(text.encode())
    ratio = round(above * 2**20 / size, 2)
    return {"bytes": size, "cpu_s": run["cpu_s"], "memory_above_mb": above, "memory_to_bytes": ratio}


def in_own_process(way: str, raw: Path, tokenizer: Path) -> dict[str, float]:
    """Measure one run in a new process: nothing of another way lies in its memory or caches."""
    command = [sys.executable, __file__, "--measure", way, "--data", str(raw), "--tokenizer", str(tokenizer)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(way: str, raw: Path, folder: Path) -> dict[str, float]:
    """Time one run. A first run over one short row, which imports libraries, is counted apart as the start-up."""
    tokenizer = Tokenizer(folder)
    _, first = next(read_rows(find_raw_files(raw)[0]))  # not all of them: they would count as memory
    kind = next(column for column in FUNCTIONS if column in first)
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.jsonl"
        small.write_text(json.dumps(shortened(first)) + "\n", encoding="utf-8")
        prepare = {"ours": ours, "bare": bare, "TRL": trl_preparation, "axolotl_like": axolotl_like}[way]
        started = time.process_time()
        prepare(small, tokenizer, kind, Path(place) / "small")()
        start_up = time.process_time() - started
        action = prepare(raw, tokenizer, kind, Path(place) / "all")
        before = peak_memory_mb()
        wall, processor = time.perf_counter(), time.process_time()
        tokens = action()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    rows = sum(1 for _ in raw.open("rb"))
    return {
        "tokens": tokens,
        "cpu_s": round(processor, 3),
        "cpu_us_a_row": round(processor / rows * 1e6, 1),
        "tokens_per_second": round(tokens / wall),
        "tokens_per_processor_second": round(tokens / processor),
        "start_up_cpu_s": round(start_up, 2),
        "peak_memory_before_mb": before,
        "peak_memory_mb": peak_memory_mb(),
    }


def peak_memory_mb() -> int:
    """Return the most memory that this process has held."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def shortened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the same form, of few tokens."""
    row = {key: value[:100] if isinstance(value, str) else value for key, value in row.items()}
    return row | ({"messages": row["messages"][:2]} if "messages" in row else {})


def chats_in(raw: Path, kind: str) -> list[list[dict]]:
    """Return the chats of a file of rows."""
    function = getattr(processing, FUNCTIONS[kind])
    return [function(row)["messages"] for _, row in read_rows(find_raw_files(raw)[0])]


def ours(raw: Path, tokenizer: Tokenizer, kind: str, output: Path) -> Callable[[], int]:
    """Return what processes a file of rows as create_dataset.py does; it returns the number of tokens."""

    def process() -> int:
        length = 2048 if kind == "text" else 100_000
        section = ProcessingSection(processing_function=FUNCTIONS[kind], max_length=length)
        return Creation(raw, tokenizer, section, None, "benchmark").write(output)["train"]["tokens"]

    return process


def bare(raw: Path, tokenizer: Tokenizer, kind: str, output: Path) -> Callable[[], int]:
    """Return what encodes the rendered texts and does nothing else, a batch at a time."""
    template = ChatTemplate(tokenizer.chat_template(), tokenizer.special_tokens)
    texts = [template.render(messages) for messages in chats_in(raw, kind)]
    # All texts at once would take a hundred times their bytes.
    batches = [texts[start : start + BATCH_ROWS] for start in range(0, len(texts), BATCH_ROWS)]
    encode = partial(tokenizer.backend.encode_batch, add_special_tokens=False)
    return lambda: sum(len(encoding) for batch in batches for encoding in encode(batch))


def axolotl_like(raw: Path, tokenizer: Tokenizer, kind: str, output: Path) -> Callable[[], int]:
    """Return what tokenizes chats as axolotl does: each turn's tokens are found by tokenizing the chat up to it."""
    chats, whole = chats_in(raw, kind), tokenizer.transformers_tokenizer

    def prepare() -> int:
        tokens = 0
        for chat in chats:
            ids = whole.apply_chat_template(chat, return_dict=False)
            labels = [-100] * len(ids)
            for number, message in enumerate(chat):
                if message["role"] == "assistant":
                    start = len(whole.apply_chat_template(chat[:number], add_generation_prompt=True, return_dict=False))
                    end = len(whole.apply_chat_template(chat[: number + 1], return_dict=False))
                    labels[start:end] = ids[start:end]
            tokens += len(labels)
        return tokens

    return prepare


def trl_preparation(raw: Path, own: Tokenizer, kind: str, output: Path) -> Callable[[], int]:
    """Return what prepares the chats with TRL's own code; it returns the number of tokens."""
    import datasets
    from trl.trainer.sft_trainer import SFTTrainer

    datasets.disable_progress_bars()
    datasets.disable_caching()
    chats, tokenizer = chats_in(raw, kind), own.transformers_tokenizer
    rows = datasets.Dataset.from_list([{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats])
    trainer = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss=True)
    settings = {"max_length": 8192, "truncation_mode": "keep_start", "shuffle_dataset": False, "seed": 0}
    args = SimpleNamespace(dataset_num_proc=None, dataset_text_field="text", assistant_only_loss=False, **settings)

    def prepare() -> int:
        prepared = SFTTrainer._prepare_dataset(trainer, rows, tokenizer, args, False, None, "train")
        return sum(map(len, prepared.with_format("numpy")["input_ids"]))

    return prepare


def write_rows(path: Path, rows: int, data: Path | None, words: int | None = None) -> Path:
    """Write instruction rows: of a file, repeated with other numbers and word orders, or of made-up words.

    `words`: the most that an answer and an instruction keep.
    """
    examples = [row for _, row in read_rows(find_raw_files(data)[0])] if data else list(made_up_rows(1000))
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = dict(examples[number % len(examples)])
            asked, answer = (row[column].split(" ")[:words] for column in ("instruction", "output"))
            at = rng.randrange(len(answer))
            row |= {"instruction": f"{number}. {' '.join(asked)}", "output": " ".join(answer[at:] + answer[:at])}
            row |= {} if words is None else {"input": ""}
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
    parser.add_argument(
        "--trl-rows", type=int, default=2_000, help="rows that TRL and axolotl_like prepare; 0: without them"
    )
    parser.add_argument("--messages", type=int, nargs="*", default=[50, 100, 200, 400, 800], help="of one long chat")
    parser.add_argument("--document-mb", type=float, default=20, help="size of one long text")
    parser.add_argument(
        "--documents", nargs="*", default=list(MARKS), choices=list(MARKS), help="what they have in them"
    )
    parser.add_argument("--executions", type=int, default=5, help="of each way")
    parser.add_argument("--measure", choices=("bare", "ours", "TRL", "axolotl_like"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
