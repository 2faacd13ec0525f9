"""How many greedy answers another batch size changes, in each type of numbers: the price of 16 bits.

    python benchmarks/flip_rates.py [--model FOLDER --prompts FILE] [--types float32 bfloat16 float16]
                                    [--batches 8 32] [--limit 32] [--new-tokens 24] [--output FILE]

FOLDER is a checkpoint, FILE one of prompts as `generation.prompts_file` takes it. Each answer is compared with that of
a batch of one, in the same type. Without both, a model with random weights answers random prompts: that tries the
program, and its figures say nothing. Answered by the stage's own code, engine `accelerate`, one rank.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import command_line, machine, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import heirloom.rank  # noqa: E402, F401

# isort: split
from accelerate import PartialState  # noqa: E402

from heirloom.config.sections.generation import GenerationSection  # noqa: E402
from heirloom.distributed import on_cpu, start_rank  # noqa: E402
from heirloom.inference.engines import Engine, load_answerer  # noqa: E402
from heirloom.inference.prompts import Prompt  # noqa: E402
from heirloom.inference.prompts_file import read_prompts_file  # noqa: E402
from heirloom.models.trained_checkpoints import load_tokenizer  # noqa: E402


def main() -> None:
    args = parse_arguments()
    start_rank()
    ranks = PartialState(cpu=on_cpu())
    with tempfile.TemporaryDirectory() as folder:
        model, prompts = inputs(args, Path(folder))
        result: dict[str, Any] = {"machine": machine("torch", "transformers", "accelerate")}
        result |= {"model": args.model.name if args.model else "random weights", "prompts": len(prompts)}
        result |= {"max_new_tokens": args.new_tokens, "answers_that_differ": {}}
        for kind in args.types:
            alone = completions(model, prompts, kind, 1, args.new_tokens, ranks)
            found = {size: completions(model, prompts, kind, size, args.new_tokens, ranks) for size in args.batches}
            result["answers_that_differ"][kind] = {
                f"batches of {size}": sum(alone[key] != answers[key] for key in alone)
                for size, answers in found.items()
            }
            print(kind, result["answers_that_differ"][kind], flush=True)
    write_result(args.output, result)


def completions(
    model: Path, prompts: list[Prompt], kind: str, size: int, new_tokens: int, ranks: PartialState
) -> dict[str, str]:
    """Return the answer to each prompt, by its row id."""
    section = GenerationSection(default_dtype=kind, test_batch_size=size, max_new_tokens=new_tokens)
    engine = Engine(load_answerer(model, section, ranks), prompts, ranks)
    return {row["row_id"]: row["completion"] for rows in engine.answers(set()) for row in rows}


def inputs(args: argparse.Namespace, folder: Path) -> tuple[Path, list[Prompt]]:
    """Return the model's folder and the prompts."""
    if args.model:
        return args.model, read_prompts_file(args.prompts, load_tokenizer(args.model), args.limit)
    from inference_speed import make_inputs

    make_inputs(folder, False, args.limit, args.new_tokens)
    drawn = json.loads((folder / "plan.json").read_text())["prompts"]
    return folder / "base", [Prompt(at, f"row-{at}", "", tuple(ids), None) for at, ids in enumerate(drawn)]


def parse_arguments() -> argparse.Namespace:
    parser = command_line(__doc__, "flip_rates")
    parser.add_argument("--model", type=Path, help="checkpoint with its tokenizer")
    parser.add_argument("--prompts", type=Path, help="file of prompts, a JSON object a line")
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16", "float16"], help="default_dtype")
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32], help="sizes compared with 1")
    parser.add_argument("--limit", type=int, default=32, help="only the first so many prompts")
    parser.add_argument("--new-tokens", type=int, default=24, help="of an answer, at most")
    args = parser.parse_args()
    if (args.model is None) != (args.prompts is None):
        parser.error("give both --model and --prompts, or neither")
    return args


if __name__ == "__main__":
    main()
