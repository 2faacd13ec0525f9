"""Write a run's checkpoint as one whole model that others load, or push it to the hub, and read it again.

    python scripts/export.py polite                                         # into exports/polite
    python scripts/export.py polite --output ../polite-1.0
    python scripts/export.py polite --to hub --repository owner/polite --public --version v1.0.0

In:  the checkpoint of a run, with its base where it is an adapter; the held-out rows of the run's datasets.
Out: a folder with merged safetensors, tokenizer, chat template, generation config and card, that plain transformers
     loads; FOLDER.export.json and .heirloom/exports/RUN.json, which reports show, say how it compares with the
     checkpoint; with --to hub a commit of a repository with the same files, downloaded again and compared too.
Exit status: 0 when what was read again is the checkpoint, else 1 with a sentence: then nothing is left at the folder.
See docs/serving.md. The token of the hub is read from HF_TOKEN.
"""

import heirloom.rank  # noqa: F401  first: it keeps out libraries that are not needed

# isort: split
import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from accelerate import PartialState
from transformers.utils.logging import disable_progress_bar

from heirloom.artifacts import destination, new_artifact
from heirloom.config.sections.generation import GenerationSection
from heirloom.distributed import on_cpu
from heirloom.errors import HeirloomError
from heirloom.failures import ends_in_one_sentence
from heirloom.models.model_facts import FACTS
from heirloom.models.remote_code import trust
from heirloom.models.trained_checkpoints import is_adapter
from heirloom.publishing.export_check import Original, check_export
from heirloom.publishing.export_record import file_beside, record_result, write_beside
from heirloom.publishing.hub_repository import check_pushable, fetch_commit, push_folder, tag_commit
from heirloom.publishing.model_behaviour import measure_checkpoint, read_held_out
from heirloom.publishing.whole_model import check_exportable, check_room, write_whole
from heirloom.report.terminal_text import forgive_characters
from heirloom.stage_arguments import output_path
from pipeline.upkeep import TrainedRun, trained_run

EXPORTS = "exports"


def main() -> None:
    forgive_characters()
    options = parse_arguments()
    os.chdir(Path(__file__).resolve().parents[1])
    output = options.output or Path(EXPORTS) / options.run
    with ends_in_one_sentence(f"exporting {options.run}"):
        trained = checked(options, output)
        original = measured(trained)
        weights = export(trained, output, original)
        if options.to == "hub":
            push(trained, output, original, weights, options)


def checked(options: argparse.Namespace, output: Path) -> TrainedRun:
    """Return the run; raise HeirloomError now for what could not be done after an hour."""
    trained = trained_run(options.run)
    if trained.run.trainer is None:
        raise HeirloomError(f"{trained.run.path} has no trainer: the model that it stands for is {trained.checkpoint}")
    trust(trained.trust_remote_code)
    check_exportable(trained.checkpoint)
    for place in (output, file_beside(output)):
        destination(place)
    if options.to == "hub":
        if not (trained.checkpoint / FACTS).is_file():
            raise HeirloomError(f"{trained.checkpoint} has no {FACTS}, by which a repository is known to be from here")
        check_pushable(options.repository)
    check_room(output, trained.checkpoint, copies=2 if options.to == "hub" else 1)
    return trained


def measured(trained: TrainedRun) -> Original:
    """Return what the checkpoint itself does with held-out prompts and rows."""
    disable_progress_bar()  # of loading the weights
    run, device = trained.run, PartialState(cpu=on_cpu()).device
    rows = (run.evaluation and run.evaluation.dataset) or run.dataset
    folders = [Path("data/processed") / name for name in (run.prompts_dataset or rows, rows)]
    for folder in folders:
        if not folder.is_dir():
            raise HeirloomError(
                f"{folder} is not here, and its held-out rows are what an export is compared by: `dvc pull "
                f"process-{folder.name}` brings it, or `snakemake --config runs={run.name}` makes it"
            )
    held = read_held_out(*folders)
    answering = run.generation or GenerationSection()
    found, asked = measure_checkpoint(trained.checkpoint, held, answering, device, trained.attention)
    how = {"tokenizer": asked.tokenizer, "end_ids": asked.end_ids, "pad_id": asked.pad_id}
    return Original(run.name, held, found, attention=trained.attention, device=device, **how)


def export(trained: TrainedRun, output: Path, original: Original) -> str:
    """Write the model, and return the hash of its weights once it was read again and found to be the checkpoint."""
    with new_artifact(output) as partial:
        write_whole(trained.run.name, trained.checkpoint, partial, original.end_ids, original.pad_id)
        weights = None if is_adapter(trained.checkpoint) else original.measured.weights
        found = check_export(partial, os.path.relpath(output), original, weights)
        record_result(found)
        refuse(found, "nothing was put there")
    write_beside(found, output)
    tell(found)
    return found["weights"]


def push(trained: TrainedRun, output: Path, original: Original, weights: str, options: argparse.Namespace) -> None:
    """Push the export, download that commit, compare it likewise, and only then let the tag name it."""
    commit = push_folder(output, options.repository, f"{trained.run.name}, exported", public=options.public)
    place = f"hub:{options.repository}@{commit}"
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.", suffix=".partial") as folder:
        fetch_commit(options.repository, commit, Path(folder))
        found = check_export(Path(folder), place, original, weights)
    record_result(found)
    refuse(found, f"do not use that commit: {output} here is right, so push again")
    if options.version is not None:
        tag_commit(options.repository, commit, options.version)
    tell(found)


def refuse(found: dict[str, Any], remedy: str) -> None:
    """Raise HeirloomError where an export is not the checkpoint."""
    if not found["passed"]:
        raise HeirloomError(
            f"{found['place']}: what was read again is not the checkpoint: {'; '.join(found['problems'])}: {remedy}"
        )


def tell(found: dict[str, Any]) -> None:
    """Say what was found of a right export."""
    perplexity, same = found["perplexity"], found["answers"] - found["answers_differing"]
    print(
        f"{found['place']}: {found['dtype']}, perplexity {perplexity['export']:.6g} on {found['dataset']} (the "
        f"checkpoint's: {perplexity['checkpoint']:.6g}), {same} of {found['answers']} greedy answers equal",
        flush=True,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="of a file in config/runs/, without .yaml")
    parser.add_argument("--output", type=output_path, help=f"folder to write; absent: {EXPORTS}/RUN of this clone")
    parser.add_argument("--to", choices=("hub",), help="push what was written there, too")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="hub: which one; it is made where it is new")
    parser.add_argument("--public", action="store_true", help="hub: a new repository is public; absent: private")
    parser.add_argument("--version", help="hub: tag of the commit, v1.2.0; absent: none")
    options = parser.parse_args()
    given = {"--repository": options.repository, "--public": options.public, "--version": options.version}
    if options.to is None and (flags := [flag for flag, value in given.items() if value]):
        parser.error(f"{flags[0]} is for --to hub: add it, or leave the flag out")
    if options.to == "hub" and not options.repository:
        parser.error("--to hub needs --repository")
    options.output = options.output and options.output.absolute()
    return options


if __name__ == "__main__":
    main()
