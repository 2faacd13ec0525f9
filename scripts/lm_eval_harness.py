"""Score a checkpoint on tasks of the lm-evaluation-harness: its own, or some that lie in this project.

    python scripts/launch.py torchrun scripts/lm_eval_harness.py --config config/demo/runs/demo-sft.yaml \\
        --sections lm_eval --checkpoint checkpoints/demo-sft --output samples/demo-sft
        --metrics metrics/harness/demo-sft.json

In:  a checkpoint with its tokenizer; the run's section `lm_eval:`, which names tasks; of the harness's own ones the raw
     datasets with their rows (--data), of others the folder with their files and rows stands in the section.
     With `base: true` also the scores and the answers of the base.
Out: one JSON file: for each task its scores and their standard errors under the harness's own names, with intervals
     and the change from the base; and a folder with a file a task, the answer to each question.

Needs the dependency group `harness` (`make setup-harness`). Each rank has a model of its own; all share the
questions (heirloom/evaluation/harness/shared_requests.py).
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import json
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_section
from heirloom.config.sections.lm_eval import LmEvalSection
from heirloom.errors import HeirloomError
from heirloom.evaluation.harness.samples import write_samples
from heirloom.evaluation.harness.scores import harness_report, plain_scores, scores_of
from heirloom.evaluation.harness.tasks import load_tasks
from heirloom.json_files import read_json
from heirloom.models.remote_code import trust
from heirloom.stage_arguments import add_loading, output_path, stage_parser

BOOTSTRAPS = 100_000
"""The harness's own number of draws for standard errors that no formula gives."""


def main() -> None:
    options = parse_arguments()
    section = read_section(options.config, "lm_eval", LmEvalSection)
    if section.base and not (options.base_metrics and options.base_samples):
        raise HeirloomError(f"{options.config}: lm_eval.base needs --base-metrics and --base-samples: give both")
    tasks = load_tasks(section, options.data)  # first: it also tells when the harness is not installed

    import torch
    from lm_eval import evaluator

    from heirloom.arithmetic.ranks import start_computing
    from heirloom.distributed import on_cpu, waiting_ranks
    from heirloom.evaluation.harness.shared_requests import SharedHFLM
    from heirloom.models.trained_checkpoints import load_model, load_tokenizer

    start_computing(portable=options.portable)
    ranks = waiting_ranks()
    trust(options.trust_remote_code)
    attention = options.attn_implementation or section.attn_implementation
    model = load_model(options.checkpoint, "auto", attention, torch.device("cpu" if on_cpu() else "cuda"))
    tokenizer = load_tokenizer(options.checkpoint)
    # they start pip, git and nvidia-smi for facts that are not kept here: the ledger's records have them
    evaluator.add_env_info = evaluator.get_git_commit_hash = lambda *_, **__: None
    results = evaluator.simple_evaluate(
        model=SharedHFLM(model, tokenizer, section.batch_size, ranks),
        tasks=section.tasks,
        task_manager=tasks,
        num_fewshot=section.num_fewshot,
        limit=section.limit,
        apply_chat_template=section.apply_chat_template,
        log_samples=ranks.is_main_process,
        bootstrap_iters=BOOTSTRAPS if ranks.is_main_process else 0,
    )
    if not ranks.is_main_process:
        return
    with new_artifact(options.output) as partial:
        partial.mkdir()
        write_samples(results["samples"], partial)
    base = plain_scores(read_json(options.base_metrics)) if section.base else None
    report = harness_report(scores_of(results), options.output, base, options.base_samples)
    with new_artifact(options.metrics) as partial:
        partial.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{options.metrics}: {json.dumps(report, sort_keys=True)}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="run file with a section `lm_eval:`", sections=("lm_eval",))
    parser.add_argument("--checkpoint", type=Path, required=True, help="model folder with its tokenizer")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="FOLDER", help="raw datasets of the harness's own tasks"
    )
    parser.add_argument("--base-metrics", type=Path, help="scores of the base on the same tasks, JSON")
    parser.add_argument("--base-samples", type=Path, help="folder with the base's answers to the same questions")
    parser.add_argument("--output", type=output_path, required=True, help="folder to write: answers to each question")
    parser.add_argument("--metrics", type=output_path, required=True, help="JSON file to write")
    add_loading(parser)
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
