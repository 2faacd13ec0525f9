"""Score a checkpoint and its answers to held-out prompts.

    python scripts/launch.py torchrun scripts/evaluate_model.py --config config/runs/demo-sft.yaml
        --sections evaluation --generations generations/demo-sft --checkpoint checkpoints/demo-sft
        --dataset data/processed/demo-chat --metrics metrics/evaluation/demo-sft.json

In:  generations.jsonl of the inference stage (exact_match, patterns, token_counts); the checkpoint and a processed
     dataset (perplexity). Only what the run's `evaluation.metrics` need is read.
Out: one JSON file of numbers, which `dvc metrics show` and `dvc metrics diff` read.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import json
import os
from pathlib import Path
from typing import Any

from heirloom import stage
from heirloom.answer_metrics import exact_match, pattern_shares, token_counts
from heirloom.artifacts import new_artifact
from heirloom.config.evaluation import EvaluationSection
from heirloom.config.reading import read_section
from heirloom.errors import HeirloomError
from heirloom.generation_files import read_generations


def main() -> None:
    options = parse_arguments()
    section = read_section(options.config, "evaluation", EvaluationSection)
    scores: dict[str, Any] = {}
    if section.reads_generations and is_main_rank():
        scores |= answer_scores(section, rows_to_score(options.generations))
    if section.reads_checkpoint:
        scores |= checkpoint_scores(section, options.checkpoint, options.dataset)
    if is_main_rank():
        with new_artifact(options.metrics) as partial:
            partial.write_text(json.dumps(scores, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{options.metrics}: {json.dumps(scores, sort_keys=True)}", flush=True)


def answer_scores(section: EvaluationSection, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the scores of generated answers that the section asks for."""
    scores: dict[str, Any] = {"answers": len(rows)}
    if "exact_match" in section.metrics:
        scores |= exact_match(rows, section.answer_pattern)
    if "patterns" in section.metrics:
        scores["patterns"] = pattern_shares(rows, section.patterns)
    if "token_counts" in section.metrics:
        scores["token_counts"] = token_counts(rows)
    return scores


def checkpoint_scores(section: EvaluationSection, checkpoint: Path | None, dataset: Path | None) -> dict[str, Any]:
    """Return the scores for which the model runs, on all ranks; torch is imported only here."""
    if checkpoint is None or dataset is None:
        raise HeirloomError("perplexity needs --checkpoint and --dataset: give them, or take it out of the metrics")
    from accelerate import PartialState

    from heirloom.distributed import on_cpu, start_rank
    from heirloom.perplexity import measure_perplexity

    start_rank()
    ranks = PartialState(cpu=on_cpu())
    return measure_perplexity(checkpoint, dataset, section.batch_size, ranks)


def is_main_rank() -> bool:
    """Say whether this rank writes; unlike heirloom.distributed without importing torch."""
    return os.environ.get("RANK", "0") == "0"


def rows_to_score(folder: Path | None) -> list[dict[str, Any]]:
    """Return the rows of a folder of generations. Raises HeirloomError when there are none."""
    if folder is None:
        raise HeirloomError("exact_match, patterns and token_counts need --generations: give it")
    return read_generations(folder)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="run file with an `evaluation:` section")
    parser.add_argument("--sections", required=True, help="sections of it that are read: evaluation")
    parser.add_argument("--generations", type=Path, help="folder with generations.jsonl")
    parser.add_argument("--checkpoint", type=Path, help="model folder, for perplexity")
    parser.add_argument("--dataset", type=Path, help="processed dataset whose test split perplexity is measured on")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
