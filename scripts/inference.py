"""Let a checkpoint answer the held-out prompts of a dataset.

    python scripts/launch.py torchrun scripts/inference.py --config config/runs/demo-sft.yaml --sections generation
        --checkpoint checkpoints/demo-sft --dataset data/processed/demo-chat --output generations/demo-sft

In:  a checkpoint (or base model) with its tokenizer; a processed dataset whose test split holds prompts.
Out: OUTPUT/generations.jsonl, one row a prompt in dataset order: row_id, dataset, prompt, completion, reference,
     finish_reason (stop or length), prompt_tokens, completion_tokens.

Every rank holds the whole model and answers its share of the batches. The batches, and the numbers that sampling
draws, depend on prompts and options alone, so any number of ranks gives the same answers. Answers are kept as they
are finished; a killed job goes on from there.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import HfArgumentParser

from heirloom import stage
from heirloom.answers import Answerer
from heirloom.artifacts import new_artifact
from heirloom.config.generation import GenerationSection
from heirloom.config.reading import read_section
from heirloom.distributed import on_cpu, start_rank
from heirloom.generation_journal import Journal, job_description, work_folder
from heirloom.generation_progress import Progress
from heirloom.prompts import check_lengths, into_batches, read_prompts


@dataclass
class InferenceArguments:
    """What inference reads and writes; how it answers stands in the run's section `generation:`."""

    config: Path = field(metadata={"help": "the run's file, with a section `generation:`"})
    checkpoint: Path = field(metadata={"help": "folder of a model with its tokenizer"})
    dataset: Path = field(metadata={"help": "processed dataset with prompts in its test split"})
    output: Path = field(metadata={"help": "folder for generations.jsonl"})
    sections: str = field(default="generation", metadata={"help": "sections of the file that are read: generation"})


def main() -> None:
    options = read_arguments()
    section = read_section(options.config, "generation", GenerationSection)
    prompts = read_prompts(options.dataset, section.limit)
    start_rank()
    # a rank that is done waits for the slowest; torchrun ends it when another one fails
    ranks = PartialState(cpu=on_cpu(), timeout=timedelta(days=1))
    torch.use_deterministic_algorithms(True, warn_only=True)

    answerer = Answerer.load(options.checkpoint, section, ranks.device)
    check_lengths(prompts, section.max_new_tokens, answerer.positions, apart=answerer.encoder_decoder)

    job = job_description(section.model_dump(), options.checkpoint, options.dataset)
    journal = Journal(work_folder(options.output), ranks.process_index, ranks.num_processes, job)
    batches = into_batches(prompts, section.batch_size)[ranks.process_index :: ranks.num_processes]
    progress = Progress(sum(map(len, batches)), len(journal.rows), ranks.num_processes, ranks.is_main_process)
    for batch in batches:
        if any(prompt.row_id not in journal.rows for prompt in batch):
            rows = answerer.answer(batch)
            journal.add(rows)
            progress.advance(len(rows), sum(row["completion_tokens"] for row in rows))

    answers = {row["row_id"]: row for row in gather_object(list(journal.rows.values()))}
    if ranks.is_main_process:
        with new_artifact(options.output) as partial:
            partial.mkdir()
            with (partial / "generations.jsonl").open("w", encoding="utf-8") as file:
                for prompt in prompts:
                    row = {"row_id": prompt.row_id, "dataset": options.dataset.name, **answers[prompt.row_id]}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{len(prompts)} answers in {options.output}/generations.jsonl", flush=True)
    ranks.destroy_process_group()


def read_arguments() -> InferenceArguments:
    parser = HfArgumentParser(
        InferenceArguments,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    (options,) = parser.parse_args_into_dataclasses()
    return options


if __name__ == "__main__":
    stage.run(main)
