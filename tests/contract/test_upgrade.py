"""`make upgrade`: what new code would make as well is kept, with proof, and nothing else is."""

import json
import re
from pathlib import Path

from clone import Clone, succeeded

PART = '''\
"""Code of training."""


def adjusted(digest: str, config: str) -> str:
    """Return the result; an adapter gives another one."""
    if "'peft'" in config:
        digest = digest[2:] + digest[:2]
    return digest
'''
USED = "    digest = adjusted(digest, str(what_counts(arguments)))\n    if arguments.output:\n"


def test_what_new_code_makes_as_well_is_kept(made: Clone, tmp_path: Path) -> None:
    clone = two_runs(made.copy_to(tmp_path / "clone"))

    # a comment: there is nothing to find out
    clone.write("scripts/heirloom/training_part.py", PART + "# and a comment\n")
    assert "no stage is stale by the project's code alone" in succeeded(clone.pipeline("upgrade")).stdout
    assert "up to date" in clone.dvc("status").stdout

    # the same to Python: a function renamed with its callers, in errors.py, and a module that all import moved
    renamed(clone, "plain", "made_plain")
    old, new = (clone.folder / f"scripts/heirloom/{name}_part.py" for name in ("shared", "common"))
    old.rename(new)
    for program in (clone.folder / "scripts").glob("*.py"):
        program.write_text(program.read_text().replace("import shared_part", "import common_part"))
    assert {"process-text", "train-other", "train-adapted", "report-other"} <= set(clone.plan())
    clone.executed()
    done = succeeded(clone.pipeline("upgrade"))
    assert "same bytes: train-adapted" in done.stdout and "same bytes: report-other" in done.stdout
    assert "same bytes: baseline-tiny-on-chats-" in done.stdout  # a small one answers otherwise, and is named so
    assert set(clone.executed()) == {"by", "hand"}  # small stages in clean clones
    clone.nothing_to_do()
    proofs = [row for row in history(clone) if "same" in row and row["combinations"]]
    proof = next(row["proof"] for row in proofs if row["proof"]["executed"] == "train-adapted")
    assert proof["renamed"]["plain"] == "made_plain" and len(proof["commits"]) == 2
    assert proof["outs"]["checkpoints/adapted"].endswith(".dir")
    clone.commit("upgraded")

    # a stage of one's own in place of a small one: it is proven for itself, on its real inputs
    own = clone.copy_to(tmp_path / "own")
    renamed(own, "made_plain", "plain")
    done = own.pipeline("upgrade", "--own", "train-other")
    assert done.returncode == 1 and "not committed, and a stage of your own is tried in a clean clone" in done.stderr
    own.commit("renamed")
    own.edit("scripts/heirloom/training_part.py", "digest[2:] + digest[:2]", "digest[::-1]")
    own.commit("and adapters otherwise")
    done = own.pipeline("upgrade", "--own", "train-other", "train-adapted")
    assert done.returncode == 1
    assert "same bytes: train-other, executed as it is in " in done.stdout
    assert "other bytes: train-adapted: checkpoints/adapted (" in done.stdout
    proof = next(row for row in history(own) if row.get("stages") == ["train-other"])["proof"]
    assert proof["executed"] == "train-other" and proof["outs"]["checkpoints/other"].endswith(".dir")
    plan = {name for name, text in own.plan().items() if text.startswith("run: ")}
    assert "train-adapted" in plan and "train-other" not in plan
    assert "nothing to try" in own.pipeline("upgrade", "--own", "train-other").stderr

    # a loss that only an adapter alters, and a line that only a GPU executes; a clone that has no data finds out
    other = clone.clone_to(tmp_path / "other")
    other.edit("scripts/heirloom/training_part.py", "digest[2:] + digest[:2]", "digest[::-1]")
    other.write("scripts/heirloom/data_part.py", "import os\n\nif 'GPU' in os.environ:\n    size = 2\n")
    done = other.pipeline("upgrade")
    assert done.returncode == 1
    assert "other bytes: train-adapted: checkpoints/adapted" in done.stdout
    assert "same bytes: train-other" in done.stdout
    assert "unproven: process-text: no small stage executes scripts/heirloom/data_part.py:4\n" in done.stdout
    assert "`snakemake` makes it again; `make upgrade ACCEPT=train" in done.stdout
    plan = other.plan("--data", "remote")
    assert {name for name, text in plan.items() if text.startswith("run: ")} == {
        "process-chats",
        "process-text",
        "train-adapted",
    }
    done = other.pipeline("upgrade", "--accept", "process")
    assert done.returncode == 1 and "say why with --reason" in done.stderr
    succeeded(other.pipeline("accept", "process-*", "--reason", "nobody has one"))
    assert {name for name, text in other.plan("--data", "remote").items() if text.startswith("run: ")} == {
        "train-adapted"
    }

    # both went on by themselves, and what each knows is known after a merge
    other.commit("another upgrade")
    clone.write("scripts/create_report.py", (clone.folder / "scripts/create_report.py").read_text() + "WORD = 1\n")
    succeeded(clone.pipeline("accept", "report-*"))
    clone.commit("an upgrade here")
    clone.git("pull", "-q", "--no-rebase", str(other.folder), "main")
    plan = clone.plan("--data", "remote")
    assert {name for name, text in plan.items() if text.startswith("run: ")} == {"train-adapted"}


def two_runs(clone: Clone) -> Clone:
    """Let the clone have two runs, one with an adapter and one beside its base, whose trainer depends on a module."""
    for name in ("pre", "sft"):
        (clone.folder / f"config/runs/{name}.yaml").unlink()
    text = (clone.folder / "config/runs/other.yaml").read_text()
    clone.write("config/runs/adapted.yaml", f"{text.strip()}\npeft: {{r: 8}}\n")
    compared = "generation: {dataset: chats, max_new_tokens: 8}\nevaluation: {metrics: [exact_match], base: true}\n"
    clone.write("config/runs/other.yaml", f"{text.strip()}\n{compared}")
    clone.write("scripts/heirloom/training_part.py", PART)
    clone.edit("scripts/train.py", "from heirloom import training_part  # noqa: F401", "")
    clone.edit("scripts/train.py", "    if arguments.output:\n", USED)
    clone.edit(
        "scripts/train.py", "import argparse\n", "import argparse\n\nfrom heirloom.training_part import adjusted\n"
    )
    succeeded(clone.snakemake())
    clone.commit("two runs")
    return clone


def renamed(clone: Clone, old: str, new: str) -> None:
    """Rename a function of errors.py in all that defines, imports and calls it."""
    word = re.compile(rf"\b{old}\b(?=\(|,|$)|(?<=, )\b{old}\b", re.MULTILINE)
    for folder in ("scripts", "workflow"):
        for file in (clone.folder / folder).rglob("*.py"):
            text = file.read_text()
            if re.search(rf"def {old}\(|errors import .*\b{old}\b", text):
                file.write_text(word.sub(new, text))


def history(clone: Clone) -> list[dict]:
    """Return the lines of the history."""
    return [json.loads(line) for line in (clone.folder / ".dvc/history.jsonl").read_text().splitlines()]
