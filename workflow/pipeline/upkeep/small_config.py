"""A config like the user's in all that the code branches by, and small in all else: what it trains is done in seconds.

Each file keeps its name, its sections and its switches. Data that is made anew has few rows, data that is not here is
replaced by the demo's, weights from elsewhere by a few thousand random ones.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from heirloom.config.folders import named_files, read_folders
from heirloom.config.parsing.reading import read_yaml
from heirloom.config.sections.processing import PROCESSING_FUNCTIONS
from heirloom.config.sections.row_kinds import Kind

KINDS = ("datasets", "models", "runs")
CONFIG = Path("config")
ROWS = 32
TEXT, MODEL = "upgrade-text", "upgrade-model"
"""Model that stands here for those from elsewhere, and the dataset that its tokenizer is trained on."""
STAND_IN = f"models/{MODEL}"
"""Where that model is made; no stage names it as what it reads, since a path of `source:` is its reader's own."""
TEMPLATE = Path("config/chat_templates/upgrade.jinja")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Its chat template, the markers of which are those that configs name most."""
SPECIAL = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "additional_special_tokens": ["<|im_start|>"]}
PARTS = {"text": "text", "chat": "chats", "preference": "preferences"}
"""Kind of rows → the part of the demo's data that has such."""
FUNCTIONS: dict[Kind, str] = {
    "text": "plain_text_processing_function",
    "chat": "dummy_processing_function",
    "preference": "dummy_rlhf_processing_function",
    "labelled": "labelled_processing_function",
    "seq2seq": "seq2seq_processing_function",
}
"""Kind of rows → the function that makes them of the demo's, where it can."""
RUN = {"max_steps": 2, "num_train_epochs": 1, "global_batch_size": 4, "per_device_train_batch_size": 1,
       "per_device_eval_batch_size": 1, "eval_steps": 1}  # fmt: skip
GENERATION = {"max_new_tokens": 4, "limit": 2, "test_batch_size": 2}
WEIGHTS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
           "num_key_value_heads": 2, "head_dim": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}  # fmt: skip


def needed_files(subjects: Iterable[str]) -> dict[str, set[str]]:
    """Return kind → names of the config files behind stages' subjects, with all that these name."""
    there = {kind: named_files(Path(), kind) for kind in KINDS}
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    pending = [(kind, name) for name in subjects for kind in KINDS]
    while pending:
        kind, name = pending.pop()
        if name not in found[kind] and name in there[kind]:
            found[kind].add(name)
            pending += [(other, text) for text in texts_in(read_yaml(there[kind][name])) for other in KINDS]
    return found


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a config, keys included, that could name another file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts_in(key)
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str) and "/" not in value:
        yield value


def write_small(folder: Path, needed: dict[str, set[str]]) -> None:
    """Replace config/ of a clone in `folder` by small versions of the files that are needed here.

    All of them lie in config/ itself, where every version of the project looks; its other folders are emptied.
    """
    for place in {*read_folders(Path(), []), *read_folders(folder, [])}:
        for kind in KINDS:
            shutil.rmtree(folder / place / kind, ignore_errors=True)
            (folder / place / kind).mkdir(parents=True)
        shutil.rmtree(folder / place / "sweeps", ignore_errors=True)
    invented = False
    for kind in KINDS:
        there = named_files(Path(), kind)
        for name in sorted(needed[kind]):
            content = read_yaml(there[name])
            if kind == "datasets":
                content = small_dataset(content, folder)
            elif kind == "models":
                elsewhere = content.get("source") is not None
                content = small_model(content)
                invented = invented or elsewhere
            else:
                content = small_run(content)
            write_yaml(folder / CONFIG / kind / f"{name}.yaml", content)
    if invented:
        processing = {"processing_function": "plain_text_processing_function", "max_length": 32}
        text = {"tokenizer": MODEL, "source": generated("text"), "processing": processing}
        write_yaml(folder / CONFIG / "datasets" / f"{TEXT}.yaml", text)
        write_yaml(folder / CONFIG / "models" / f"{MODEL}.yaml", stand_in())
        # without a run the model would be no stage; it is executed by no one
        run = {
            "base": MODEL,
            "dataset": TEXT,
            "trainer": "trainer",
            "training": {"global_batch_size": 16, "max_steps": 1},
        }
        write_yaml(folder / CONFIG / "runs" / f"{MODEL}-run.yaml", run)
        (folder / STAND_IN).mkdir(parents=True)  # a config may name no folder that is not there
        (folder / TEMPLATE).parent.mkdir(parents=True, exist_ok=True)
        (folder / TEMPLATE).write_text(CHATML, encoding="utf-8")


def write_yaml(file: Path, content: dict) -> None:
    """Write a config file."""
    with file.open("w", encoding="utf-8") as lines:
        YAML().dump(content, lines)


def generated(part: str) -> dict[str, Any]:
    """Return the source of a few of the demo's rows."""
    return {"generator": "demo", "part": part, "rows": ROWS, "seed": 0}


def small_dataset(content: dict, folder: Path) -> dict:
    """Return a dataset of few rows; the user's own file comes along where it is here."""
    source = dict(content.get("source") or {})
    if not source:
        return content
    path = source.get("path")
    if source.get("generator"):
        rows = {key: min(source[key], ROWS) for key in ("rows", "test_rows") if key in source}
        return content | {"source": source | rows}
    if path and Path(path).exists():
        if not (folder / path).exists() and Path(path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / path)
        return content
    processing = content.get("processing") or {}
    if source.get("hub") and not processing:
        return content  # rows that stay raw for the harness, which a trial does not fetch
    if "processed" in source:
        processing = {"processing_function": FUNCTIONS[source["kind"]], "max_length": 64, "test_rows": 4}
        return {
            "tokenizer": content["tokenizer"],
            "source": generated(PARTS.get(source["kind"], "text")),
            "processing": processing,
        }
    kind = PROCESSING_FUNCTIONS.get(processing.get("processing_function"), processing.get("kind"))
    return content | {"source": generated(PARTS.get(kind, "text"))}


def small_model(content: dict) -> dict:
    """Return a model of few weights; one from elsewhere comes from the folder of the one that is made here."""
    if content.get("source") is not None:
        rest = {key: value for key, value in content.items() if key not in ("source", "shape")}
        return rest | {"source": {"path": STAND_IN}}
    init = {key: min(value, WEIGHTS[key]) if key in WEIGHTS else value for key, value in content["init"].items()}
    return content | {"init": init}


def stand_in() -> dict:
    """Return the model that is made here in the place of those from elsewhere: a tiny one that can chat."""
    init = {"model_type": "llama", "seed": 0, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    init |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    tokenizer = {"train_on": TEXT, "vocab_size": 400, "chat_template": TEMPLATE.as_posix(), **SPECIAL}
    return {"tokenizer": tokenizer, "init": init}


def small_run(content: dict) -> dict:
    """Return a run of a few steps and answers; a batch of the default size is 8 on each of two ranks."""
    small = {**content, "enabled": True}
    small.pop("tracking", None)  # no second run at a tracker
    small.pop("resources", None)
    batches = {} if "per_device_train_batch_size" in (small.get("training") or {}) else {"global_batch_size": 16}
    for section, limits in (("training", RUN | batches), ("generation", GENERATION)):
        if isinstance(small.get(section), dict):
            small[section] = {
                key: min(value, limits[key]) if key in limits else value for key, value in small[section].items()
            }
    return small
