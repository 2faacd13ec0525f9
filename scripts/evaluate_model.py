"""Score a checkpoint and its answers to held-out prompts.

    python scripts/launch.py torchrun scripts/evaluate_model.py --config config/demo/runs/demo-sft.yaml
        --sections evaluation --generations generations/demo-sft --checkpoint checkpoints/demo-sft
        --dataset data/processed/demo-chat --metrics metrics/evaluation/demo-sft.json

In:  generations.jsonl of the inference stage (all metrics of answers); the checkpoint and a processed dataset
     (perplexity), or one of pairs (preference); the base and its answers to the same prompts; other runs' answers
     (evaluation.against); a reward model (reward). Only what the run's section `evaluation:` needs is read.
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
from heirloom.evaluation.scores import Scores, score_report
from heirloom.evaluation.win_rate import check_same_prompts, win_rate
from heirloom.inference.generation_files import read_generations
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_attention, add_portable, add_trust, output_path, stage_parser


def main() -> None:
    options = parse_arguments()
    section = read_section(options.config, "evaluation", EvaluationSection)
    check_inputs(section, options)
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
        score_by_models(section, options, run, base)
    if is_main_rank():
        report = score_report(run, base if section.base else None) | ({"against": against} if against else {})
        with new_artifact(options.metrics) as partial:
            partial.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{options.metrics}: {json.dumps(report, sort_keys=True)}", flush=True)


def score_by_models(section: EvaluationSection, options: argparse.Namespace, run: Scores, base: Scores) -> None:
    """Add the scores for which the models run, on all ranks; torch is imported only here."""
    from heirloom.arithmetic.ranks import start_computing
    from heirloom.distributed import waiting_ranks
    from heirloom.evaluation.perplexity import measure_perplexity
    from heirloom.evaluation.preference import measure_preference
    from heirloom.evaluation.rewards.answer_rewards import measure_rewards
    from heirloom.evaluation.rewards.pair_rewards import measure_reward_model
    from heirloom.models.language_models import gives_scores
    from heirloom.models.trained_checkpoints import load_config

    start_computing(portable=options.portable)
    ranks = waiting_ranks()
    attention = options.attn_implementation or section.attn_implementation
    how = {"batch_size": section.batch_size, "ranks": ranks, "attention": attention}
    if "perplexity" in section.metrics:
        run.update(measure_perplexity(options.checkpoint, options.dataset, **how))
        if section.base:
            base.update(measure_perplexity(options.base, options.dataset, **how))
    if "preference" in section.metrics and gives_scores(load_config(options.checkpoint)):
        run.update(measure_reward_model(options.checkpoint, options.preferences, **how))
    elif "preference" in section.metrics:
        models = (options.checkpoint, options.base)
        run.update(measure_preference(*models, options.preferences, section.beta, **how))
    if REWARD in section.metrics:
        how["attention"] = section.attn_implementation  # of the run's own model is said what fits that one
        run.update(measure_rewards(options.reward_model, read_generations(options.generations), **how))
        if section.base:
            base.update(measure_rewards(options.reward_model, read_generations(options.base_generations), **how))


def check_inputs(section: EvaluationSection, options: argparse.Namespace) -> None:
    """Raise HeirloomError that names every flag which the section needs and nobody gave."""
    needed = ["generations"] if section.reads_generations else []
    needed += ["base_generations"] if section.scores_answers and section.base else []
    needed += ["checkpoint", "dataset", *(["base"] if section.base else [])] if "perplexity" in section.metrics else []
    needed += ["checkpoint", "preferences"] if "preference" in section.metrics else []
    needed += ["reward_model"] if REWARD in section.metrics else []
    missing = [f"--{flag.replace('_', '-')}" for flag in dict.fromkeys(needed) if getattr(options, flag) is None]
    given = [name for name, _ in options.against]
    missing += [f"--against {name}=FOLDER" for name in section.against if name not in given]
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
    parser.add_argument("--base", type=Path, help="model folder that the checkpoint was trained from")
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
    add_trust(parser)
    add_portable(parser)
    add_attention(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
