"""What a reader wants to know of a run first: what was trained, from what, on what; what got better and what worse."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

from heirloom.report.run_config import Config
from heirloom.report.scores import Verdict

ENDS = {"early_stopping": "early stopping ended the training", "all_steps": "the training went to its last step"}
"""metrics/training/RUN.json: `train.end`, where held-out rows decide which state is kept or when training ends."""
CLEAR = ("better", "worse")


def first_screen(config: Config, run: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return {"facts", "kept", "changes", "others", "gates"} of a run's page.

    `facts`: [label, value] each. `kept`: a sentence on the state that is the checkpoint, or None. `changes`: the rows
    of `run["scores"]` that are called better or worse, those first that are worse; `others`: [verdict, how many]
    of all others that were compared. `gates`: {"passed", "failed": names}, or None without any.
    """
    compared = [row for row in run["scores"] if row["verdict"] is not None]
    changes = sorted((row for row in compared if row["verdict"] in CLEAR), key=lambda row: -CLEAR.index(row["verdict"]))
    others = Counter(row["verdict"] for row in compared if row not in changes)
    gates = run["gates"]
    return {
        "facts": [list(fact) for fact in facts(config, run["training"].get("train", {}), data)],
        "kept": kept_sentence(run["training"].get("train", {})),
        "changes": changes,
        "others": [[verdict, others[verdict]] for verdict in get_args(Verdict) if others[verdict]],
        "gates": {
            "passed": sum(gate["passed"] for gate in gates),
            "failed": [gate["name"] for gate in gates if not gate["passed"]],
        }
        if gates
        else None,
    }


def facts(config: Config, train: dict[str, Any], data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (label, value) of what was trained; what is not known is left out."""
    training = config.get("training") or {}
    if config.get("trainer") is None:
        yield "not trained", f"{config['base']} as it is"
    else:
        yield "trained by", config["trainer"]
        yield "from", config["base"]
        yield "on", config.get("dataset")
    splits = data.get(config.get("dataset") or "", {})
    for split, label in (("train", "rows"), ("test", "held-out rows")):
        counts = splits.get(split)
        if isinstance(counts, dict) and isinstance(counts.get("rows_kept"), int):
            yield label, counts["rows_kept"]
    for key in ("steps", "tokens"):
        if isinstance(train.get(key), int):
            yield key, train[key]
    weights, trained = (train.get(key) for key in ("parameters", "trained_parameters"))
    if isinstance(weights, int) and isinstance(trained, int) and 0 < trained <= weights:
        yield "parameters", weights
        if trained < weights:
            yield "of them trained", f"{trained:,} ({trained / weights:.2%})"
    for key in ("learning_rate", "global_batch_size", "seed"):
        if isinstance(training.get(key), int | float):
            yield key.replace("_", " "), training[key]
    if (peft := config.get("peft")) is not None:
        yield "adapter", f"LoRA, r {peft['r']}" if isinstance(peft, dict) and "r" in peft else "LoRA"
    if config.get("quantization") is not None:
        yield "base loaded in", "8 bits" if config["quantization"].get("load_in_8bit") else "4 bits"


def kept_sentence(train: dict[str, Any]) -> str | None:
    """Return which step's state the checkpoint is and why the training ended, where held-out rows decide that."""
    step, end = train.get("kept_step"), train.get("end")
    if not isinstance(step, int) or end not in ENDS:
        return None
    trained = f" of {train['steps']:,} that were trained" if isinstance(train.get("steps"), int) else ""
    return f"The checkpoint is the state after step {step:,}{trained}; {ENDS[end]}."
