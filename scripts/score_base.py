"""Score rows by the base of trainings, once for all runs that are compared with it.

    python scripts/launch.py torchrun scripts/score_base.py --metric perplexity --checkpoint checkpoints/demo-pretrain
        --dataset data/processed/demo-chat --batch_size 8 --output base_scores/demo-pretrain-on-demo-chat.json

In:  perplexity and preference: the base, and a processed dataset (of pairs, for preference), whose held-out rows count;
     reward: a reward model, and the base's answers.
Out: one JSON file with what the model gave to each row, which scripts/evaluate_model.py reads (--base-scores; --scores
     of a run that trains nothing, and is its base).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
from pathlib import Path
from typing import Any

from heirloom import stage
from heirloom.arithmetic.ranks import start_computing
from heirloom.artifacts import new_artifact
from heirloom.config.sections.evaluation import REWARD
from heirloom.distributed import is_main_rank, waiting_ranks
from heirloom.errors import HeirloomError
from heirloom.evaluation.likelihoods.perplexity import row_likelihoods
from heirloom.evaluation.likelihoods.preference import answer_likelihoods
from heirloom.evaluation.model_scores import ModelScores, write_model_scores
from heirloom.evaluation.rewards.answer_rewards import answer_rewards
from heirloom.inference.generation_files import read_generations
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_loading, output_path


def main() -> None:
    options = parse_arguments()
    trust(options.trust_remote_code)
    start_computing(portable=options.portable)
    ranks = waiting_ranks()
    how = {"batch_size": options.batch_size, "ranks": ranks, "attention": options.attn_implementation}
    scores = METRICS[options.metric](options, how)
    if is_main_rank():
        with new_artifact(options.output) as partial:
            write_model_scores(partial, options.metric, scores)
        print(f"{options.output}: {options.metric} of {len(scores.values):,} rows", flush=True)


def of_rows(options: argparse.Namespace, how: dict[str, Any]) -> ModelScores:
    check_given(options, "checkpoint", "dataset")
    return row_likelihoods(options.checkpoint, options.dataset, **how)


def of_pairs(options: argparse.Namespace, how: dict[str, Any]) -> ModelScores:
    check_given(options, "checkpoint", "dataset")
    return answer_likelihoods(options.checkpoint, options.dataset, **how)


def of_answers(options: argparse.Namespace, how: dict[str, Any]) -> ModelScores:
    check_given(options, "reward_model", "generations")
    return answer_rewards(options.reward_model, read_generations(options.generations), **how)


METRICS = {"perplexity": of_rows, "preference": of_pairs, REWARD: of_answers}


def check_given(options: argparse.Namespace, *needed: str) -> None:
    """Raise HeirloomError that names every flag which the metric needs and nobody gave."""
    missing = [f"--{flag.replace('_', '-')}" for flag in needed if getattr(options, flag) is None]
    if missing:
        raise HeirloomError(f"--metric {options.metric} needs {', '.join(missing)}: give what is missing")


def at_least_one(text: str) -> int:
    """Return a number of sequences. Raises argparse's error for anything else."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, not {text!r}")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", choices=METRICS, required=True, help="what is computed of each row")
    parser.add_argument("--checkpoint", type=Path, help="the base, for perplexity and preference")
    parser.add_argument("--dataset", type=Path, help="processed dataset whose test split they are of")
    parser.add_argument("--reward-model", type=Path, help="folder of a reward model, for reward")
    parser.add_argument("--generations", type=Path, help="folder with the base's answers, for reward")
    parser.add_argument("--batch_size", type=at_least_one, default=8, help="sequences a rank and forward pass")
    parser.add_argument("--output", type=output_path, required=True, help="JSON file to write")
    add_loading(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
