"""Let a checkpoint answer prompts: the held-out ones of a dataset, or those of a file.

    python scripts/launch.py torchrun scripts/inference.py --config config/demo/runs/demo-sft.yaml --sections generation
        --checkpoint checkpoints/demo-sft --dataset data/processed/demo-chat --output generations/demo-sft

`--generation '{"max_new_tokens": 16}'` stands in the place of --config where no run's file decides: of a base.

In:  a checkpoint (whole, quantized, or an adapter beside its base) with its tokenizer; a processed dataset whose test
     split holds prompts, or a file of prompts (heirloom/inference/prompts_file.py).
Out: OUTPUT/generations.jsonl (or .parquet), one row an answer, in the order of the prompts: row_id, sample, dataset,
     checkpoint (hash of its weights), prompt, completion, reference, finish_reason (stop or length), prompt_tokens,
     completion_tokens, logprob (nats, of the completion under the model).

`generation.engine` says how the ranks share the work (heirloom/inference/engines.py, inference/vllm/engine.py). What is
answered depends on prompts and options alone: in float32 any engine, any number of ranks and any batch size give the
same answers (vllm draws its samples by itself). In 16 bits each rounds otherwise (docs/inference.md). Answers are kept
as they are finished; a killed job goes on from there.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import HfArgumentParser

from heirloom import stage
from heirloom.arithmetic.determinism import fill_nothing
from heirloom.arithmetic.ranks import start_computing
from heirloom.artifacts import destination, new_artifact
from heirloom.config.parsing.flags_by_hand import run_with_flags
from heirloom.config.parsing.reading import read_yaml, validated_section
from heirloom.config.parsing.section_in_command import section_in_command
from heirloom.config.sections.generation import GenerationSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.distributed import gathered_rows, is_main_rank, waiting_ranks
from heirloom.errors import HeirloomError
from heirloom.inference.chain_prompts import tell_prompts_of_chain
from heirloom.inference.engines import Engine, load_answerer
from heirloom.inference.generation_files import NAMES, write_generations
from heirloom.inference.generation_journal import Journal, delete_work, job_description, key_of, work_folder
from heirloom.inference.generation_progress import Progress
from heirloom.inference.prompts import Prompt, check_lengths, check_vocabulary, read_prompts, repeated
from heirloom.inference.prompts_file import read_prompts_file
from heirloom.inference.vllm.engine import VllmEngine, load_for_vllm
from heirloom.models.remote_code import trust
from heirloom.models.trained_checkpoints import folders_of, load_tokenizer
from heirloom.models.weights import weights_hash
from heirloom.s3 import check_destination, upload_folder


@dataclass
class InferenceArguments:
    """What inference reads and writes; how it answers stands in the run's section `generation:`, or in a flag."""

    checkpoint: Path = field(metadata={"help": "folder of a model with its tokenizer"})
    output: Path = field(metadata={"help": "folder for generations.jsonl"})
    config: Path | None = field(default=None, metadata={"help": "the run's file, with a section `generation:`"})
    generation: str | None = field(
        default=None, metadata={"help": "such a section itself, as JSON, in place of a file"}
    )
    dataset: Path | None = field(default=None, metadata={"help": "processed dataset with prompts in its test split"})
    prompts: Path | None = field(default=None, metadata={"help": "file of prompts, instead of a dataset"})
    s3_upload_dir: str | None = field(
        default=None, metadata={"help": "s3://bucket/prefix to copy the generations to; absent: as `tracking:` says"}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that came with the checkpoint; read it first"}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "attention of the model; absent: as `generation:` says"}
    )
    portable: bool = field(
        default=False,
        metadata={"help": "the same bytes on every x86-64 processor with AVX2; scripts/launch.py prepares it"},
    )
    sections: str = field(default="generation", metadata={"help": "sections of the file that are read: generation"})


def main() -> None:
    options, flags = read_arguments()
    if options.sections != "generation":
        raise HeirloomError(f"--sections {options.sections}: inference.py reads the section generation alone")
    trust(options.trust_remote_code)
    section, tracked = settings(options, flags)
    if options.attn_implementation:
        if section.engine == "vllm":
            raise HeirloomError("--attn_implementation: engine: vllm has attention of its own; leave it out")
        section = section.model_copy(update={"attn_implementation": options.attn_implementation})
    destination(options.output)
    prompts = prompts_of(options, section)
    upload_to = upload_destination(options, tracked)
    if options.portable and section.engine == "vllm":
        raise HeirloomError("--portable: engine: vllm chooses its kernels by the processor; use accelerate")
    start_computing(portable=options.portable, deterministic=section.deterministic)
    ranks = waiting_ranks()
    if not section.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        fill_nothing()

    by_vllm = section.engine == "vllm"
    load = load_for_vllm if by_vllm else load_answerer
    answerer = load(options.checkpoint, section, ranks)
    check_lengths(prompts, section, answerer.positions, apart=answerer.encoder_decoder)
    check_vocabulary(prompts, answerer.model.config.get_text_config().vocab_size, options.checkpoint)

    job = job_description(
        section.model_dump(), *folders_of(options.checkpoint), *filter(None, (options.dataset, options.prompts))
    )
    work = work_folder(options.output)
    if by_vllm:
        engine = VllmEngine(answerer, options.checkpoint, prompts, ranks, work)
    else:
        engine = Engine(answerer, prompts, ranks)
    journal = Journal(work, ranks.process_index, ranks.num_processes, job)
    progress = Progress(engine.total, len(journal.rows), engine.ranks_in_parallel, ranks.is_main_process)
    for rows in engine.answers(set(journal.rows)):
        if engine.reports:
            journal.add(rows)
            progress.advance(len(rows), sum(row["completion_tokens"] for row in rows))

    answers = {key_of(row): row for row in gathered_rows(list(journal.rows.values()))}
    if ranks.is_main_process:
        origin = {
            "dataset": (options.dataset or options.prompts).name,
            "checkpoint": weights_hash(options.checkpoint),
        }
        with new_artifact(options.output) as partial:
            partial.mkdir()
            rows = [with_origin(answers[prompt.key], origin) for prompt in prompts]
            write_generations(rows, partial, section.output_format)
        print(f"{len(prompts)} answers in {options.output}/{NAMES[section.output_format]}", flush=True)
        if upload_to:
            upload_folder(options.output, upload_to, NAMES[section.output_format])
            print(f"copied to {upload_to}", flush=True)
    journal.close()
    delete_work(work)


def settings(options: InferenceArguments, flags: list[str]) -> tuple[GenerationSection, str | None]:
    """Return how to answer, and where on S3 the run's `tracking:` wants the generations, too.

    Both stand in the run's file with `flags` put over it; a command that has the settings itself knows no run.
    """
    if (options.config is None) == (options.generation is None):
        raise HeirloomError("inference.py needs --config or --generation, one of the two")
    if options.config is None:
        if flags:
            raise HeirloomError(f"{' '.join(flags)}: flags are put over a run's file; give --config, or leave them out")
        return section_in_command("--generation", options.generation, GenerationSection), None
    file = options.config
    run = run_with_flags(file, flags, ("generation", "tracking")) if flags else read_yaml(file)
    tracking = validated_section(run, file, "tracking", TrackingSection, required=False)
    return validated_section(run, file, "generation", GenerationSection), tracking.s3_upload_dir


def prompts_of(options: InferenceArguments, section: GenerationSection) -> list[Prompt]:
    """Return the prompts, each as often as it is to be answered."""
    if (options.dataset is None) == (options.prompts is None):
        raise HeirloomError("inference.py needs --dataset or --prompts, one of the two")
    if options.dataset is not None:
        prompts = read_prompts(options.dataset, section.limit)
        if is_main_rank():
            tell_prompts_of_chain(options.dataset, options.checkpoint)
    else:
        prompts = read_prompts_file(options.prompts, load_tokenizer(options.checkpoint), section.limit)
    return repeated(prompts, section.num_return_sequences)


def upload_destination(options: InferenceArguments, tracked: str | None) -> str | None:
    """Return where on S3 the generations go too; raise HeirloomError now if they could not be put there later.

    `tracked`: the folder for those of all runs, as `tracking:` has it.
    """
    url = options.s3_upload_dir or (tracked and f"{tracked.rstrip('/')}/{options.output.name}")
    if url:
        check_destination(url)
    return url


def with_origin(row: dict[str, Any], origin: dict[str, str]) -> dict[str, Any]:
    """Return an answer with where it came from, in the order in which a reader wants it."""
    first = {"row_id": row["row_id"], "sample": row["sample"], **origin}
    return {**first, **{name: value for name, value in row.items() if name not in first}}


def read_arguments() -> tuple[InferenceArguments, list[str]]:
    """Return the script's own arguments and the words that are left: by hand, flags for keys of `generation:`."""
    parser = HfArgumentParser(
        InferenceArguments,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if {"-h", "--help"} & {*sys.argv[1:]}:
        keys = parser.add_argument_group("keys of `generation:`, as in the run's file; others go to GenerationConfig")
        for key, about in GenerationSection.model_fields.items():
            if key not in InferenceArguments.__dataclass_fields__:
                keys.add_argument(f"--{key}", help=(about.description or "").replace("%", "%%"))
    return parser.parse_args_into_dataclasses(return_remaining_strings=True)


if __name__ == "__main__":
    stage.run(main)
