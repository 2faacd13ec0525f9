"""Stages from a raw dataset to a processed one and to a base model with its tokenizer, one function a kind.

`trusted` is the value of --trust_remote_code by model (pipeline.graph.model_loading.trust_by_model).
"""

from collections.abc import Iterator
from typing import Any

from pipeline.graph.commands import command
from pipeline.graph.stages import Stage, present, user_code


def download_stages(dataset) -> Iterator[Stage]:
    """The dataset from elsewhere, unless it is a local path (a plain input of `process`) or a mixture."""
    if dataset.source is None or dataset.source.local is not None:
        return
    script = "scripts/generate_dataset.py" if dataset.source.generator else "scripts/download_dataset.py"
    output = f"data/raw/{dataset.name}"
    yield Stage(
        kind="download",
        subject=dataset.name,
        cmd=command("python", script, dataset, ["source"], output=output),
        program=script,
        params={str(dataset.path): ("source",)},
        outs=(output,),
    )


def tokenizer_stages(model, project, trusted: dict[str, str]) -> Iterator[Stage]:
    """The model's tokenizer: trained on a raw dataset, or fetched without the weights."""
    sections = present(model, "source", "tokenizer")
    inputs, files, flags = {}, [], {}
    if model.tokenizer is not None and model.tokenizer.train_on is not None:
        inputs, files, flags["raw"] = raw_input(project.datasets[model.tokenizer.train_on])
    if model.tokenizer is not None and model.tokenizer.chat_template:
        files.append(str(model.tokenizer.chat_template))
    yield Stage(
        kind="tokenizer",
        subject=model.name,
        cmd=command(
            "python",
            "scripts/create_tokenizer.py",
            model,
            sections,
            **flags,
            trust_remote_code=trusted.get(model.name),
            output=f"tokenizers/{model.name}",
        ),  # fmt: skip
        inputs=inputs,
        program="scripts/create_tokenizer.py",
        files=tuple(files),
        params={str(model.path): tuple(sections)},
        outs=(f"tokenizers/{model.name}",),
    )


def model_stages(model, trusted: dict[str, str]) -> Iterator[Stage]:
    """The base model: initialised from the config, or fetched."""
    section = "source" if model.init is None else "init"
    tokenizer = f"tokenizers/{model.name}"
    yield Stage(
        kind="model",
        subject=model.name,
        cmd=command(
            "python",
            "scripts/create_model.py",
            model,
            [section],
            tokenizer=tokenizer,
            trust_remote_code=trusted.get(model.name),
            output=f"models/{model.name}",
        ),  # fmt: skip
        inputs={"tokenizer": (tokenizer,)},
        program="scripts/create_model.py",
        params={str(model.path): (section,)},
        outs=(f"models/{model.name}",),
    )


def process_stages(dataset, trusted: dict[str, str]) -> Iterator[Stage]:
    """The processed dataset: rows tokenized, masked, split; or one taken over; or several processed datasets mixed."""
    output = f"data/processed/{dataset.name}"
    statistics = f"metrics/data/{dataset.name}.json"
    files: list[str] = []
    if dataset.mixture is not None:
        sections = ["mixture"]
        parts = {name: f"data/processed/{name}" for name in dataset.mixture.datasets}
        inputs = {"datasets": tuple(parts.values())}
        flags: dict[str, Any] = {"datasets": [f"{name}={path}" for name, path in parts.items()]}
    else:
        sections = ["source"] if dataset.is_processed_already else ["processing"]
        inputs, files, raw = raw_input(dataset)
        tokenizer = f"tokenizers/{dataset.tokenizer}"
        inputs["tokenizer"] = (tokenizer,)
        flags = {"raw": raw, "tokenizer": tokenizer, "trust_remote_code": trusted.get(dataset.tokenizer)}
        if dataset.processing is not None:
            files += [str(dataset.processing.chat_template)] if dataset.processing.chat_template else []
            files += user_code(dataset.processing.processing_function, "scripts/create_dataset.py")
    yield Stage(
        kind="process",
        subject=dataset.name,
        cmd=command(
            "python", "scripts/create_dataset.py", dataset, sections, **flags, output=output, statistics=statistics
        ),
        inputs=inputs,
        program="scripts/create_dataset.py",
        files=tuple(files),
        params={str(dataset.path): tuple(sections)} if sections else {},
        outs=(output,),
        metrics=(statistics,),
    )


def raw_input(dataset) -> tuple[dict[str, tuple[str, ...]], list[str], str]:
    """Return what reading a raw dataset means: (inputs made by stages, plain files, the path itself)."""
    if dataset.source.local is not None:
        return {}, [dataset.source.local], dataset.source.local
    return {"raw": (f"data/raw/{dataset.name}",)}, [], f"data/raw/{dataset.name}"
