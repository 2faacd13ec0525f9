"""Which files of config/ can be used while others hold mistakes: those that name none of them, at whatever distance."""

from collections.abc import Iterable, Iterator
from pathlib import PurePath

from heirloom.config.dataset import Dataset
from heirloom.config.files import KINDS, Files
from heirloom.config.model import Model
from heirloom.config.parsing.mistakes import Mistake
from heirloom.config.run import Run
from heirloom.config.sections.gates import gates_of

Name = tuple[tuple[str, ...], str]
"""The kinds of files that a name may stand for, the first that has it, and the name."""


def names_in(file: Dataset | Model | Run) -> Iterator[Name]:
    """Yield what a file that is right by itself names: bases, datasets, tokenizers, runs to compare with."""
    if isinstance(file, Run):
        named = [("runs", "models"), file.base], [("datasets",), file.dataset]
        scored = [section.dataset for section in (file.generation, file.evaluation) if section is not None]
        scored += [file.evaluation.preference_dataset] if file.evaluation is not None else []
        found = [*named, *((("datasets",), name) for name in scored)]
        found += [(("datasets",), name) for name in (file.lm_eval.datasets or () if file.lm_eval is not None else ())]
        found += [(("runs",), name) for name in (file.evaluation.against if file.evaluation is not None else ())]
        found += [(("runs",), file.evaluation.reward_model if file.evaluation is not None else None)]
        found += [(("runs",), name) for name in (file.training.reward_models if file.training is not None else ())]
        found += [(("runs",), gate.than) for _, gate in gates_of(file.gates)]
    elif isinstance(file, Dataset):
        parts = file.mixture.datasets if file.mixture is not None else ()
        found = [(("models",), file.tokenizer), *((("datasets",), part) for part in parts)]
    else:
        found = [(("datasets",), file.tokenizer.train_on if file.tokenizer is not None else None)]
    yield from ((kinds, name) for kinds, name in found if name is not None)


def without_broken(files: Files, mistakes: Iterable[Mistake]) -> Files:
    """Return the files that hold no mistake and name none that does, or that is not there at all."""
    wrong = {mistake.file for mistake in mistakes}
    wrong |= {path for path, member in files.members.items() if not wrong.isdisjoint((member.sweep, member.base))}
    every = {kind: getattr(files, kind) for kind in KINDS}
    whole = {
        kind: {name: file for name, file in known.items() if file.path not in wrong} for kind, known in every.items()
    }

    def is_whole(kinds: tuple[str, ...], name: str) -> bool:
        kind = next((kind for kind in kinds if name in every[kind]), None)
        return kind is not None and name in whole[kind]

    while True:
        left = {
            kind: {name: file for name, file in known.items() if all(is_whole(*each) for each in names_in(file))}
            for kind, known in whole.items()
        }
        if left == whole:
            return Files(files.root, **whole, sweeps=files.sweeps, members=files.members)
        whole.update(left)


def broken_runs(files: Files, mistakes: Iterable[Mistake], whole: Files) -> set[str]:
    """Return the names of the runs that cannot be used, those included whose file could not even be read."""
    unread = (PurePath(mistake.file) for mistake in mistakes)
    named = {path.stem for path in unread if path.parent.name == "runs" or path.parent.parent.name == "sweeps"}
    return (named | files.runs.keys()) - whole.runs.keys()
