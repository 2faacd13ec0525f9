"""How stages load a model: from which folders, with or without the code that came with it, with which attention."""

from collections.abc import Iterator

TRUST = "trust_remote_code"
"""The flag of every program that loads a model or a tokenizer."""
PORTABLE = "portable"
"""The flag of every program that computes with a run's model."""


def chain_of(run, project) -> Iterator:
    """Yield a run and those that it stands on, the nearest first."""
    yield run
    while run.base in project.runs:
        run = project.runs[run.base]
        yield run


def trust_of(run, project) -> str | None:
    """Return the value of --trust_remote_code: said by the run or by one that it stands on."""
    return "true" if any(each.trusts_remote_code for each in chain_of(run, project)) else None


def portable(run) -> str | None:
    """Return the value of --portable, by which the launcher holds arithmetic to what all processors have."""
    return "true" if run.portable else None


def trust_by_model(project) -> dict[str, str]:
    """Return model → the same for what is made of it before any run: said by an enabled run that stands on it."""
    runs = [run for run in project.runs.values() if run.enabled and trust_of(run, project)]
    return {project.root_model(run.name): "true" for run in runs}


def attention_of(section: str, run, project) -> str | None:
    """Return the attention that the model of a section is loaded with; None leaves it to transformers.

    It is the section's own, else the one that the checkpoint was trained with; an engine that has one of its own takes
    none.
    """
    if section == "generation" and run.generation.engine == "vllm":
        return None
    own = getattr(run, section).attn_implementation
    trained = next((each.training for each in chain_of(run, project) if each.trainer is not None), None)
    return own or (trained.attn_implementation if trained is not None else None)


def loading_flags(section: str, run, project) -> dict[str, str | None]:
    """Return the flags for a stage that loads a checkpoint; what the section says itself needs no flag."""
    own = getattr(run, section).attn_implementation
    inherited = None if own else attention_of(section, run, project)
    return {TRUST: trust_of(run, project), PORTABLE: portable(run), "attn_implementation": inherited}


def deepspeed_file(run) -> str | None:
    """Return the file of DeepSpeed's settings that a run names."""
    return f"config/deepspeed/{run.deepspeed}.json" if run.deepspeed else None


def checkpoint_of(name: str, project) -> str:
    """Return the folder that holds a model's or a run's weights; a run without trainer stands for its base."""
    if name not in project.runs:
        return f"models/{name}"
    run = project.runs[name]
    return f"checkpoints/{name}" if run.trainer is not None else checkpoint_of(run.base, project)


def model_folders(name: str, project) -> tuple[str, ...]:
    """Return the folders that a stage needs to load a model or a run's checkpoint, the one that it is given first.

    A checkpoint that is an adapter names the whole model that it belongs to, the nearest below it in the chain. A run
    without a trainer stands for its base here too.
    """
    checkpoint, run = checkpoint_of(name, project), project.runs.get(name)
    while run is not None and (run.trainer is None or run.writes_adapter):
        name = run.base
        run = project.runs.get(name)
    whole = checkpoint_of(name, project)
    return (checkpoint,) if whole == checkpoint else (checkpoint, whole)
