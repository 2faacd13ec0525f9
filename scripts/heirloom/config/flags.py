"""Flags that override keys of a run's file by hand: the same keys, types, refusals and sentences as in the file.

    --learning_rate 2e-5   --packing   --cpu_offload=False   --target_modules "[q_proj, v_proj]"   --peft.r 4

A flag is a key of a section under its own name; where two sections know it, the training's before the generation's, or
that of the section before a dot. The scripts have this done by a program of its own, `scripts/read_flags.py`: rules
that can only refuse are no code of a stage, so that an edit of them makes no result stale.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from heirloom.config.arguments.library_arguments import argument_schemas
from heirloom.config.arguments.refused_arguments import RENAMED, SET_BY_THE_WORKFLOW, refusal
from heirloom.config.elsewhere import SECTIONS, elsewhere
from heirloom.config.files import value_problems
from heirloom.config.parsing.mistakes import ConfigErrors, Mistake, closest, did_you_mean
from heirloom.config.parsing.reading import dotted, line_of, parse_yaml, read_text
from heirloom.config.run import Run

Place = tuple[str, str]
"""Section and key."""


def with_flags(path: str, words: list[str], sections: list[str], trainer: str | None) -> dict[str, Any]:
    """Return what a run's file says with the flags put over it. Raises ConfigErrors, every mistake at once.

    `sections` are those that the script reads, `trainer` is the script's own; without one it is the file's.
    """
    text = read_text(path)
    value = parse_yaml(text, path)
    if not isinstance(value, dict):
        raise ConfigErrors([Mistake(path, None, "", "must hold keys and values, as the files in config/runs/ do")])
    trainer = trainer or value.get("trainer")
    given: dict[Place, str] = {}
    mistakes = []
    for flag, texts in flags_in(words):
        try:
            section, key = place_of(flag, sections, trainer)
        except LookupError as problem:
            mistakes.append(Mistake(f"--{flag}", None, "", str(problem.args[0])))
            continue
        given[section, key] = flag
        value[section] = {**(value.get(section) or {}), key: flag_value(section, key, texts, trainer)}
    mistakes += mistakes_of(path, text, value, sections, trainer, given)
    if mistakes:
        raise ConfigErrors(mistakes)
    return value


def flags_in(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each flag with its values: `--flag=value`, `--flag value value`, or `--flag` alone for true."""
    found: list[tuple[str, list[str]]] = []
    for word in words:
        name, equals, text = word.partition("=")
        if re.fullmatch(r"--[A-Za-z_][\w.-]*", name):
            found.append((name.removeprefix("--").replace("-", "_"), [text] if equals else []))
        elif not found:
            problem = "is no flag; write --KEY VALUE for a key of the run's file"
            raise ConfigErrors([Mistake(word, None, "", problem)])
        else:
            found[-1][1].append(word)
    yield from found


def place_of(flag: str, sections: list[str], trainer: str | None) -> Place:
    """Return the section and the key that a flag means. Raises LookupError with the sentence when there is none."""
    section, dot, key = flag.rpartition(".")
    if dot:
        if section not in sections:
            raise LookupError(f"there is no section {section} here; {did_you_mean(section, sections)}")
        return section, key
    known = list(known_keys(sections, trainer))
    for name, keys in known:
        if key in keys:
            return name, key
    for name in ("training", "generation"):
        # a key that the file would refuse is put there, to be refused in the file's words
        refused = refusal(name, key) is not None and (name == "generation" or key in (RENAMED | SET_BY_THE_WORKFLOW))
        if name in sections and refused:
            return name, key
    every = [name for _, keys in known for name in keys if refusal(sections[0], name, keys) is None]
    remedy = elsewhere(sections[0], key)
    if remedy is None:
        near = closest(key, sorted(every))
        remedy = f"did you mean --{near}?" if near else "the keys of config/README.md are flags, and --help lists them"
    raise LookupError(f"there is no such flag; {remedy}")


def known_keys(sections: list[str], trainer: str | None) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield sections and keys that a flag can mean, in the order in which they are asked."""
    own = [(name, SECTIONS[name].model_fields) for name in sections]
    yield from (part for part in own if part[0] != "generation")
    if "training" in sections:
        yield "training", library_keys("training", trainer)
    if "generation" in sections:
        yield "generation", {**SECTIONS["generation"].model_fields, **library_keys("generation", trainer)}


def library_keys(section: str, trainer: str | None) -> dict[str, Any]:
    """Return the JSON Schemas of the keys that a section passes on to a library."""
    library = {"training": trainer, "generation": "generation_config"}.get(section)
    return argument_schemas(library) if library else {}


def flag_value(section: str, key: str, texts: list[str], trainer: str | None) -> Any:
    """Return a flag's value as the file would have it: YAML, but a text where the key is one."""
    if len(texts) > 1:
        return [flag_value(section, key, [text], trainer) for text in texts]
    if not texts:
        return True
    value = parse_yaml(texts[0], f"--{key}")
    if value == {} and not texts[0].strip():
        return ""
    field = SECTIONS[section].model_fields.get(key)
    if field is not None:
        is_text = str in (field.annotation, *getattr(field.annotation, "__args__", ()))
    else:
        kinds = library_keys(section, trainer).get(key, {}).get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if "array" in kinds and "string" not in kinds and isinstance(value, str):
            return [value]  # `--loss_type ipo`: the libraries' own command lines take one word for a list of one
        is_text = "string" in kinds and not {"integer", "number", "boolean"} & {*kinds}
    return texts[0] if is_text and isinstance(value, int | float) and not isinstance(value, bool) else value


def mistakes_of(
    path: str, text: str, value: dict[str, Any], sections: list[str], trainer: str | None, given: dict[Place, str]
) -> Iterator[Mistake]:
    """Yield what the check of a run's file says of these sections; what a flag gave is told of the flag.

    `text` is the file's, for the lines of its keys.
    """
    kept = {name: value[name] for name in (*sections, "trust_remote_code", "portable", "deepspeed") if name in value}
    kept |= {"base": "by-hand", "dataset": "by-hand"}  # their folders may be given as flags
    if "training" in sections:
        kept["trainer"] = trainer
    for keys, problem in value_problems(Run, kept, path):
        if not keys or keys[0] not in sections:
            continue
        flag = given.get((str(keys[0]), str(keys[1]))) if len(keys) > 1 else None
        if flag is not None:
            yield Mistake(f"--{flag}", None, dotted(keys), problem)
        else:
            yield Mistake(path, line_of(text, keys), dotted(keys), problem)
