"""create_dataset.py without a config file: `create_dataset.py DESTINATION --model-id=… --dataset-name=… [options]`.

The options become the same config sections, and the same programs run: download_dataset.py and create_tokenizer.py
for what is on the hub or on S3, then the one implementation of the processing. Only the upload is new.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from heirloom.artifacts import destination
from heirloom.code_closure import SCRIPTS
from heirloom.config.parsing.mistakes import explain
from heirloom.config.sections.processing import PROCESSING_FUNCTIONS, ProcessingSection
from heirloom.config.sections.row_kinds import KIND_NAMES
from heirloom.data.data_statistics import summary
from heirloom.data.dataset_creation import create_dataset
from heirloom.data.hidden_token import TOKEN_FLAG, TOKEN_VARIABLE
from heirloom.data.raw.raw_files import READERS, suffix_of
from heirloom.errors import HeirloomError
from heirloom.models.remote_code import as_flag, trust
from heirloom.s3 import SCHEME, check_destination, upload_folder
from heirloom.stage_arguments import add_trust

DEBUG_ROWS = 100
COMPLETE = "dataset.json"  # uploaded last: where it stands, a dataset is whole


def is_by_hand(arguments: list[str]) -> bool:
    """Tell whether the command line is one without a config file."""
    return not any(argument.partition("=")[0] == "--config" for argument in arguments) and (
        not {"-h", "--help"} & set(arguments[:1])
    )


def create_by_hand(arguments: list[str]) -> None:
    """Process a dataset as the command line says and put it at a local path or on S3. Raises HeirloomError."""
    args = parse_by_hand(arguments)
    trust(args.trust_remote_code)
    section = section_of(args)
    model = place_of("--model-id", args.model_id, args.model_revision)
    dataset = place_of("--dataset-name", args.dataset_name, args.dataset_revision)
    if args.dataset_config and "hub" in dataset:
        dataset["config"] = args.dataset_config
    on_s3 = args.destination.startswith(SCHEME)
    if on_s3:
        check_destination(args.destination)
    else:
        destination(args.destination)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tokenizer = fetched("create_tokenizer.py", model, work / "tokenizer", *as_flag())
        raw = fetched("download_dataset.py", dataset, work / "raw")
        output = work / "processed" if on_s3 else Path(args.destination)
        metrics = create_dataset(raw, tokenizer, section, output, first_rows=DEBUG_ROWS if args.debug else None)
        if on_s3:
            upload_folder(output, args.destination, last=COMPLETE)
    for line in summary(metrics):
        print(f"{args.destination.rstrip('/')}/{line}")


def parse_by_hand(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line without a config file."""
    flag = argparse.BooleanOptionalAction
    parser = argparse.ArgumentParser(
        prog="create_dataset.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("destination", help="local folder, or s3://bucket/prefix")
    parser.add_argument("--model-id", required=True, help="model whose tokenizer is used: hub id, s3://…, or folder")
    parser.add_argument("--model-revision", help="commit of the hub model")
    add_trust(parser)
    parser.add_argument("--dataset-name", required=True, help="hub id, s3://…, or a local file or folder")
    parser.add_argument("--dataset-config", help="configuration of the hub dataset")
    parser.add_argument("--dataset-revision", help="commit of the hub dataset")
    parser.add_argument(
        "--processing-function",
        required=True,
        help=f"{', '.join(PROCESSING_FUNCTIONS)}, or module:function of your own (then give --kind)",
    )
    parser.add_argument("--kind", help=f"what your own function makes: {KIND_NAMES}")
    parser.add_argument(TOKEN_FLAG, help=f"hub token; better given as the environment variable {TOKEN_VARIABLE}")
    parser.add_argument("--max-length", type=int, required=True, help="longest row, tokens")
    parser.add_argument("--max-prompt-length", type=int, help="longest prompt of a preference pair, tokens")
    parser.add_argument("--max-target-length", type=int, help="longest target of a seq2seq row, tokens")
    parser.add_argument("--dataset-text-field", default="text", help="raw column that holds plain text")
    parser.add_argument(
        "--columns", type=renamed, nargs="+", metavar="THEIRS=OURS", help="raw columns to rename, e.g. message=messages"
    )
    parser.add_argument("--train-on", help="assistant, last_assistant or all: the turns of a chat that are trained on")
    parser.add_argument(
        "--packed", action=flag, default=False, help="join texts and cut them into rows of --max-length"
    )
    parser.add_argument("--truncation-mode", help="keep_start or keep_end: which tokens of a longer row stay")
    parser.add_argument("--truncation", type=int, choices=(0, 1), default=1, help="1: cut longer rows, 0: drop them")
    parser.add_argument("--padding", type=int, choices=(0, 1), default=0, help="1: pad every row to --max-length")
    parser.add_argument("--add-generation-prompt", action=flag, default=False, help="end chats with an open turn")
    parser.add_argument("--remove-columns", action=flag, default=True, help="leave the raw columns out")
    parser.add_argument("--chat-template", help="file of a chat template to use instead of the tokenizer's")
    parser.add_argument("--train-split", help="raw split to train on; absent: train")
    parser.add_argument("--test-split", help="raw split to hold out; absent: test, where there is one")
    parser.add_argument("--test-rows", type=int, help="rows to hold out")
    parser.add_argument("--test-fraction", type=float, help="share of the rows to hold out")
    parser.add_argument("--bad-rows", type=float, default=0.0, help="largest share of unusable rows that is accepted")
    parser.add_argument("--debug", action=flag, default=False, help=f"only the first {DEBUG_ROWS} rows of each file")
    parser.add_argument("--process-locally", action=flag, default=True, help="process on this machine")
    args = parser.parse_args(arguments)
    if not args.process_locally:
        parser.error("--no-process-locally: remote processing is a stage of the workflow (snakemake --profile …)")
    return args


def section_of(args: argparse.Namespace) -> ProcessingSection:
    """Return the processing section that the options mean; raises HeirloomError for options that do not fit."""
    keys: dict[str, Any] = {
        "processing_function": args.processing_function,
        "max_length": args.max_length,
        "dataset_text_field": args.dataset_text_field,
        "truncation": bool(args.truncation),
        "padding": bool(args.padding),
        "add_generation_prompt": args.add_generation_prompt,
        "remove_columns": args.remove_columns,
        "bad_rows": args.bad_rows,
        "packed": args.packed,
    }
    given = ("kind", "max_prompt_length", "max_target_length", "chat_template", "test_fraction", "test_rows")
    for name in (*given, "test_split", "train_split", "train_on", "truncation_mode"):
        if getattr(args, name) is not None:
            keys[name] = getattr(args, name)
    if args.columns:
        keys["columns"] = dict(args.columns)
    defaults = {name: field.default for name, field in ProcessingSection.model_fields.items()}
    keys = {name: value for name, value in keys.items() if defaults[name] != value}  # as if it were not written
    try:
        return ProcessingSection.model_validate(keys)
    except ValidationError as error:
        problems = [
            f"--{str(names[0]).replace('_', '-') if names else ''}: {problem}"
            for names, problem in explain(error, ProcessingSection, keys)
        ]
        raise HeirloomError("; ".join(problems)) from None


def renamed(text: str) -> tuple[str, str]:
    """Return (theirs, ours) of a word of --columns."""
    theirs, equals, ours = text.partition("=")
    if not (theirs and equals and ours):
        raise argparse.ArgumentTypeError(f"expected THEIRS=OURS, found {text}")
    return theirs, ours


def place_of(flag: str, place: str, revision: str | None) -> dict[str, str]:
    """Return the `source` section that a place means: an existing path, an S3 prefix, or else a hub repository.

    Raises HeirloomError for what looks like a path, by its beginning, its slashes or the ending of a data file, and is
    not here: the hub would be asked for it, and be blamed.
    """
    if place.startswith(SCHEME):
        return {"s3": place}
    if Path(place).exists():
        return {"path": place}
    is_file = suffix_of(Path(place)) in READERS
    if is_file or place.startswith(("/", "./", "../", "~")) or place.count("/") > 1:
        raise HeirloomError(f"{flag}: there is no {'file ' if is_file else ''}{place}; give a path that is here")
    return {"hub": place, **({"revision": revision} if revision else {})}


def fetched(script: str, source: dict[str, str], output: Path, *flags: str) -> Path:
    """Return a local path as it is; run a script of the workflow on any other `source` section and return `output`.

    The script's messages appear as they come. Raises HeirloomError when it fails.
    """
    if "path" in source:
        return Path(source["path"])
    config = output.with_name(f"{output.name}.yaml")
    config.write_text(json.dumps({"source": source}), encoding="utf-8")  # JSON is YAML
    return made_by(script, config, ["source"], output, *flags)


def made_by(script: str, config: Path | str, sections: list[str], output: Path, *flags: str) -> Path:
    """Run a script of the workflow on sections of a config file and return `output`. Raises HeirloomError as above."""
    command = [sys.executable, str(SCRIPTS / script), "--config", str(config), "--sections", ",".join(sections)]
    if subprocess.run([*command, "--output", str(output), *flags], check=False).returncode:
        raise HeirloomError(f"{script} could not make what {config} says; its message stands above")
    return output
