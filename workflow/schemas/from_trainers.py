"""What the documents say of each trainer, from the table of trainers."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from heirloom.config.arguments.collator_names import CollatorName
from heirloom.config.trainers.spec import TrainerSpec
from heirloom.config.trainers.table import TRAINERS

DOCUMENTS = ("docs/methods.md", "docs/training.md", "docs/inference.md", "README.md", "scripts/README.md")
RULE = "rules/training.smk"
PROGRAMS = re.compile(r"(launch\.py torchrun scripts/)\{[\w,]+\}\.py")
PART = re.compile(
    r"(<!-- (trainers|collators|training scripts|training programs) -->\n?).*?(<!-- end of \2 -->)", re.DOTALL
)


def with_trainers(document: str) -> str:
    """Return a document with the parts between `<!-- NAME -->` and `<!-- end of NAME -->` renewed."""
    parts = {
        "trainers": trainers_table,
        "collators": collators_table,
        "training scripts": script_links,
        "training programs": programs_table,
    }
    return PART.sub(lambda match: match[1] + parts[match[2]]() + match[3], document)


def with_programs(rule: str) -> str:
    """Return the text of the training rule, its docstring with the names of all trainers' scripts."""
    names = ",".join(Path(trainer.script).stem for trainer in TRAINERS.values())
    return PROGRAMS.sub(lambda match: f"{match[1]}{{{names}}}.py", rule)


def programs_table() -> str:
    """Return the list of programs that train, from the folder of scripts."""
    rows = ((f"[{file_name(trainer)}]({file_name(trainer)})", "train", trainer.title) for trainer in TRAINERS.values())
    return table(("program", "rule", "what it does"), rows)


def script_links() -> str:
    """Return links to the trainers' scripts, from the repository's folder."""
    return ", ".join(f"[{file_name(trainer)}]({trainer.script})" for trainer in TRAINERS.values())


def file_name(trainer: TrainerSpec) -> str:
    return trainer.script.rpartition("/")[2]


def trainers_table() -> str:
    """Return what each trainer is for and takes."""
    rows = (
        (
            f"`{trainer.name}`",
            trainer.title,
            f"[{file_name(trainer)}](../{trainer.script})",
            ", ".join(trainer.row_kinds),
            f"`{trainer.arguments_class}`",
        )
        for trainer in TRAINERS.values()
    )
    return table(("`trainer:`", "what it does", "script", "rows (`kind`)", "other keys of `training:` go to"), rows)


def collators_table() -> str:
    """Return which collators each trainer takes."""
    rows = (
        (f"`{trainer.name}`", defaults(trainer), listed(trainer.collators), listed(refused(trainer)))
        for trainer in TRAINERS.values()
    )
    return table(("`trainer:`", "`default` means", "allowed", "refused"), rows)


def defaults(trainer: TrainerSpec) -> str:
    """Return what `heirloom.training.batches.collator_choice.default_collator` makes of `default`."""
    first, *others = trainer.collators
    text = f"`{first}`"
    if "seq2seq" in others:
        text += "; encoder-decoder models: `seq2seq`"
    if first == "completion_only" and "dynamic_padding_only" in others:
        text += "; rows of plain text: `dynamic_padding_only`"
    return text


def refused(trainer: TrainerSpec) -> list[str]:
    return [name for name in get_args(CollatorName) if name not in ("default", *trainer.collators)]


def listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    ruler = "|---" * len(head) + "|"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join((first, ruler, *others, ""))
