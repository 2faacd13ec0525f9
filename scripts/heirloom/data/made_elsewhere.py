"""Take over a processed dataset that create_dataset.py made somewhere else: what cannot be compared is not believed.

Its rows are token ids already, so they are not processed again; they are read as data, held against the hashes in
dataset.json, and written anew. The page to look at, which would be somebody else's HTML, is made here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from heirloom.artifacts import new_artifact
from heirloom.config.sections.row_kinds import Kind
from heirloom.data.data_statistics import SplitStatistics
from heirloom.data.dataset_storage import SplitWriter
from heirloom.data.mixing import compare_prompts, counted
from heirloom.data.preview import ROWS_A_SPLIT, Preview
from heirloom.data.processed_dataset import COLUMNS, read_description
from heirloom.data.rows.tokenization import Tokenizer
from heirloom.data.seen_prompts import read_keys, write_keys
from heirloom.errors import HeirloomError
from heirloom.json_files import write_json

FACTS = (
    "kind", "max_length", "max_prompt_length", "max_target_length", "packed", "padded", "train_on",
    "processing_function", "hub", "tokenizer", "chat_template", "splits",
)  # fmt: skip
"""What dataset.json says, all of which some reader asks for."""
IDS = ("input_ids", "labels", "attention_mask", "prompt_ids", "chosen_ids", "rejected_ids")
"""Columns of token ids; all others are texts."""


def take_over(
    made: Path, tokenizer_folder: Path, kind: Kind, output: Path, statistics: Path | None = None
) -> dict[str, Any]:
    """Write the processed dataset `made` to the folder `output` and return its statistics, which go to a file too.

    Raises HeirloomError when it is none, when its rows are not those that it describes, and when it is of another kind
    than `kind` or was made with another tokenizer than the one in `tokenizer_folder`.
    """
    tokenizer = Tokenizer(tokenizer_folder)
    facts = read_description(made)
    check_facts(made, facts, kind, tokenizer)
    with new_artifact(output) as partial:
        partial.mkdir()
        preview = Preview(output.name, tokenizer, kind)
        metrics: dict[str, Any] = {}
        keys: dict[str, np.ndarray | None] = {}
        for split, described in facts["splits"].items():
            metrics[split] = copy_split(made / split, partial / split, described, kind, preview)
            if (found := read_keys(made, split)) is not None:
                write_keys(found, partial, split)
            keys[split] = found
        compare_prompts(keys, metrics, output.name)
        write_json(partial / "dataset.json", {fact: facts[fact] for fact in FACTS})
        (partial / "preview.html").write_text(preview.page(metrics), encoding="utf-8")
    if statistics is not None:
        with new_artifact(statistics) as partial:
            write_json(partial, metrics)
    return metrics


def check_facts(made: Path, facts: Any, kind: Kind, tokenizer: Tokenizer) -> None:
    """Raise HeirloomError when dataset.json is not what this program writes, or not what the config says."""
    missing = [fact for fact in FACTS if fact not in facts] if isinstance(facts, dict) else ["everything"]
    if missing:
        raise HeirloomError(
            f"{made}/dataset.json: says nothing of {', '.join(missing)}: make the dataset again, with this version's "
            "create_dataset.py"
        )
    if facts["kind"] != kind:
        raise HeirloomError(f"{made}: holds {facts['kind']} rows: write source.kind: {facts['kind']}, not {kind}")
    ours = tokenizer.facts()
    differing = [name for name in ours if ours[name] != facts["tokenizer"].get(name)]
    if differing:
        told = "; ".join(f"{name} {facts['tokenizer'].get(name)} there, {ours[name]} here" for name in differing[:2])
        raise HeirloomError(
            f"{made}: was made with another tokenizer than {tokenizer.folder} ({told}): name in `tokenizer:` the model "
            "whose tokenizer made it"
        )
    if "train" not in facts["splits"] or facts["splits"].keys() - {"train", "test"}:
        raise HeirloomError(f"{made}/dataset.json: expected the splits train and perhaps test, found others")
    for split, described in facts["splits"].items():
        if absent := [name for name in COLUMNS[kind] if name not in described["columns"] and name != "labels"]:
            raise HeirloomError(f"{made}/dataset.json: its {split} split has no {', '.join(absent)}: make it again")


def copy_split(made: Path, target: Path, described: dict[str, Any], kind: Kind, preview: Preview) -> dict[str, Any]:
    """Write a split's rows to `target`; return their statistics. Raises HeirloomError for other rows than described."""
    changed = HeirloomError(
        f"{made}: its rows are not those that dataset.json describes: an upload was cut short, or somebody changed "
        "them: make the dataset again"
    )
    statistics = SplitStatistics()
    try:
        with SplitWriter(target, {name: "ids" if name in IDS else "text" for name in described["columns"]}) as writer:
            for file in sorted(made.glob("data-*.arrow")):
                with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
                    if not stream.schema.equals(writer.schema, check_metadata=True):
                        raise changed
                    for batch in stream:
                        writer.write(batch)
                        count_rows(batch, kind, statistics, preview, target.name)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise changed from error
    if (writer.sha256, writer.rows) != (described["sha256"], described["rows"]):
        raise changed
    return statistics.as_metrics()


def count_rows(
    batch: pyarrow.RecordBatch, kind: Kind, statistics: SplitStatistics, preview: Preview, split: str
) -> None:
    """Count the rows of a batch, and show the first of a split."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    for at in range(batch.num_rows):
        row = {
            name: column[at].values.to_numpy() if name in IDS else column[at].as_py()
            for name, column in columns.items()
        }
        if statistics.rows_in < ROWS_A_SPLIT:
            shown = {name: value.tolist() if name in IDS else value for name, value in row.items()}
            preview.keep(split, row.get("row_id") or f"row {statistics.rows_in + 1}", shown)
        statistics.rows_in += 1
        statistics.keep(counted(row, kind))
