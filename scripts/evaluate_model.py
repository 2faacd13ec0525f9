"""Score a checkpoint and its answers to held-out prompts.

    python scripts/launch.py torchrun scripts/evaluate_model.py --config config/demo/runs/demo-sft.yaml
        --sections evaluation --generations generations/demo-sft --checkpoint checkpoints/demo-sft
        --dataset data/processed/demo-chat --metrics metrics/evaluation/demo-sft.json

In:  generations.jsonl of the inference stage (all metrics of answers); the checkpoint and a processed dataset
     (perplexity), or one of pairs (preference); the base's answers to the same prompts, and what scripts/score_base.py
     has computed of the base; other runs' answers (evaluation.against); a reward model (reward). Only what the run's
     section `evaluation:` needs is read.
Out: one JSON file of numbers, which `dvc metrics show` and `dvc metrics diff` read: docs/evaluation.md.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import json
import os
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.evaluation import REWARD, EvaluationSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.answer_scores import score_answers
from heirloom.evaluation.model_scores import ModelScores, of_the_same_rows, read_model_scores
from heirloom.evaluation.scores import Scores, score_report
from heirloom.evaluation.win_rate import check_same_prompts, win_rate
from heirloom.inference.generation_files import read_generations
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_loading, output_path, stage_parser


def main() -> None:
    options = parse_arguments()
    section = read_section(options.config, "evaluation", EvaluationSection)
    given, of_base = read_model_scores(options.scores), read_model_scores(options.base_scores)
    check_inputs(section, options, given, of_base)
    trust(options.trust_remote_code)
    run, base, against = Scores(), Scores(), {}
    if section.reads_generations and is_main_rank():
        rows = read_generations(options.generations)
        run.update(score_answers(section, rows))
        if section.scores_answers and section.base:
            answers = read_generations(options.base_generations)
            check_same_prompts(rows, answers, f"--base-generations {options.base_generations}: the base")
            base.update(score_answers(section, answers))
        against = {name: win_rate(section, rows, read_generations(folder), name) for name, folder in options.against}
    if section.reads_checkpoint or REWARD in section.metrics:
        score_by_models(section, options, given, of_base, run, base)
    if is_main_rank():
        report = score_report(run, base if section.base else None) | ({"against": against} if against else {})
        with new_artifact(options.metrics) as partial:
            partial.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{options.metrics}: {json.dumps(report, sort_keys=True)}", flush=True)


def score_by_models(
    section: EvaluationSection,
    options: argparse.Namespace,
    given: dict[str, ModelScores],
    of_base: dict[str, ModelScores],
    run: Scores,
    base: Scores,
) -> None:
    """Add the scores for which the models run, on all ranks; torch is imported only here.

    `given` and `of_base`: what the checkpoint, and its base, gave to rows already, by metric.
    """
    from heirloom.arithmetic.ranks import start_computing
    from heirloom.distributed import waiting_ranks
    from heirloom.evaluation.likelihoods.perplexity import perplexity_scores, row_likelihoods
    from heirloom.evaluation.likelihoods.preference import answer_likelihoods, preference_scores
    from heirloom.evaluation.rewards.answer_rewards import answer_rewards, reward_scores
    from heirloom.evaluation.rewards.pair_rewards import measure_reward_model
    from heirloom.models.language_models import gives_scores
    from heirloom.models.trained_checkpoints import load_config

    start_computing(portable=options.portable)
    ranks = waiting_ranks()
    attention = options.attn_implementation or section.attn_implementation
    how = {"batch_size": section.batch_size, "ranks": ranks, "attention": attention}
    if "perplexity" in section.metrics:
        own = given.get("perplexity") or row_likelihoods(options.checkpoint, options.dataset, **how)
        run.update(perplexity_scores(own))
        if section.base:
            base.update(perplexity_scores(of_the_same_rows(of_base["perplexity"], own)))
    if "preference" in section.metrics and options.checkpoint and gives_scores(load_config(options.checkpoint)):
        run.update(measure_reward_model(options.checkpoint, options.preferences, **how))
    elif "preference" in section.metrics:
        own = given.get("preference") or answer_likelihoods(options.checkpoint, options.preferences, **how)
        reference = of_base.get("preference")
        run.update(preference_scores(own, reference and of_the_same_rows(reference, own), section.beta))
    if REWARD in section.metrics:
        how["attention"] = section.attn_implementation  # of the run's own model is said what fits that one
        answers = read_generations(options.generations)
        run.update(reward_scores(answer_rewards(options.reward_model, answers, **how)))
        if section.base:
            base.update(reward_scores(of_base[REWARD]))


def check_inputs(
    section: EvaluationSection,
    options: argparse.Namespace,
    given: dict[str, ModelScores],
    of_base: dict[str, ModelScores],
) -> None:
    """Raise HeirloomError that names every flag which the section needs and nobody gave."""
    needed = ["generations"] if section.reads_generations else []
    needed += ["base_generations"] if section.scores_answers and section.base else []
    needed += ["checkpoint", "dataset"] if "perplexity" in section.metrics and "perplexity" not in given else []
    needed += ["checkpoint", "preferences"] if "preference" in section.metrics and "preference" not in given else []
    needed += ["reward_model"] if REWARD in section.metrics else []
    missing = [f"--{flag.replace('_', '-')}" for flag in dict.fromkeys(needed) if getattr(options, flag) is None]
    compared = [metric for metric in ("perplexity", REWARD) if metric in section.metrics and section.base]
    missing += [f"--base-scores with {metric} (scripts/score_base.py)" for metric in compared if metric not in of_base]
    named = [name for name, _ in options.against]
    missing += [f"--against {name}=FOLDER" for name in section.against if name not in named]
    if missing:
        raise HeirloomError(f"{options.config}: `evaluation:` needs {', '.join(missing)}: give what is missing")


def is_main_rank() -> bool:
    """Say whether this rank writes; unlike heirloom.distributed without importing torch."""
    return os.environ.get("RANK", "0") == "0"


def opponent(words: str) -> tuple[str, Path]:
    """Return name and folder of `RUN=FOLDER`. Raises argparse's error, which argparse tells, for anything else."""
    name, _, folder = words.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(f"expected RUN=FOLDER, the folder with its answers, not {words!r}")
    return name, Path(folder)


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="run file with an `evaluation:` section", sections=("evaluation",))
    parser.add_argument("--generations", type=Path, help="folder with generations.jsonl or generations.parquet")
    parser.add_argument("--checkpoint", type=Path, help="model folder, for perplexity and preference")
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], metavar="FILE", help="what the checkpoint gave to rows already"
    )
    parser.add_argument(
        "--base-scores", type=Path, nargs="+", default=[], metavar="FILE", help="the same of what it was trained from"
    )
    parser.add_argument("--dataset", type=Path, help="processed dataset whose test split perplexity is measured on")
    parser.add_argument("--preferences", type=Path, help="processed dataset of pairs, for preference")
    parser.add_argument("--base-generations", type=Path, help="folder with the base's answers to the same prompts")
    parser.add_argument(
        "--against",
        nargs="+",
        type=opponent,
        default=[],
        metavar="RUN=FOLDER",
        help="other runs' answers to the same prompts",
    )
    parser.add_argument("--reward-model", type=Path, help="folder of a reward model, for reward")
    parser.add_argument("--metrics", type=output_path, required=True, help="JSON file to write")
    add_loading(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
