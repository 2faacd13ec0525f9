"""YAML is read exactly as DVC reads its params files, and keys are found on their lines."""

import math
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from heirloom.config.parsing.mistakes import ConfigErrors
from heirloom.config.parsing.reading import locate, read_section, read_yaml
from heirloom.config.sections.resources import ResourcesSection
from heirloom.config.sections.tracking import TrackingSection
from heirloom.errors import HeirloomError

SCALARS = """
1e-5 1e5 1.0e-5 1E5 12e03 .5 1. 0. -0 +1 1_000 685_230.15 -.inf e5 '1e-5' "1e5"
yes no on off y true True TRUE 010 0o10 0x1F 0b11 0_1 1:30 190:20:30 1:30.5
~ null Null 2001-12-14 2001-12-14t21:59:43.10-05:00 !!str\\ 5 a\\ b
""".replace("\\ ", "\0").split()


@pytest.mark.parametrize("scalar", [scalar.replace("\0", " ") for scalar in SCALARS])
def test_scalars_are_what_dvc_reads(section_file, scalar: str):
    file = section_file(f"key: {scalar}\n")
    ours, dvcs = read_yaml(file), load_yaml(str(file))
    assert ours == dvcs
    assert type(ours["key"]) is type(dvcs["key"])


def test_the_scalars_that_other_readers_get_wrong(section_file):
    file = section_file("a: 1e-5\nb: 1e5\nc: yes\nd: 010\ne: 0o10\nf: 1:30\ng: .5\nh: ~\ni: .nan\n")
    value = read_yaml(file)
    assert math.isnan(value.pop("i"))
    assert value == {"a": 0.00001, "b": 100000.0, "c": "yes", "d": 10, "e": 8, "f": "1:30", "g": 0.5, "h": None}
    assert type(value["b"]) is float


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "- a\n- b\n",
        "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
        "a: |\n  two\n  lines\n",
        "? [1, 2]\n: 3\n",
    ],
)
def test_documents_are_what_dvc_reads(section_file, text: str):
    file = section_file(text)
    assert read_yaml(file) == load_yaml(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: a: this key is given twice (the mapping starts on line 1); keep one"),
        ("a:\n  b: {c: 1, c: 2}\n", ":2: c: this key is given twice (the mapping starts on line 2); keep one"),
        ("a: [1\nb: 2\n", ":2: is not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", ":2: is not valid YAML: while scanning a plain scalar, found a tab character that violates"),
        ("a: !tag 1\n", ":1: is not valid YAML: could not determine a constructor for the tag '!tag'"),
        ("a: 1\n---\nb: 2\n", ":2: is not valid YAML: expected a single document in the stream, but found another"),
        ("a: 2001-02-31\n", ": a value cannot be read: day is out of range for month"),
    ],
)
def test_what_dvc_cannot_read_is_told_with_its_line(section_file, text: str, message: str):
    file = section_file(text)
    with pytest.raises(Exception):  # noqa: B017 - DVC raises several kinds
        load_yaml(str(file))
    with pytest.raises(ConfigErrors) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)


def test_a_missing_and_an_unreadable_file(tmp_path: Path):
    with pytest.raises(ConfigErrors, match="nowhere.yaml: there is no such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(ConfigErrors, match="is not UTF-8 text; save it with that encoding"):
        read_yaml(tmp_path / "latin.yaml")


def test_keys_are_found_on_their_lines(section_file):
    file = section_file("# head\na: 1\nb:\n  c: {d: 2,\n      e: 3}\n  f:\n    - x\n    - y: 1\n      z: 2\n")
    lines = {(): None, ("a",): 2, ("b",): 3, ("b", "c", "d"): 4, ("b", "c", "e"): 5, ("b", "f", 0): 7}
    lines |= {("b", "f", 1, "z"): 9, ("b", "nothing"): 3, ("nothing",): None, ("b", "f", 7): 6}
    assert {keys: locate(file, keys) for keys in lines} == lines


def test_a_script_reads_its_section_with_defaults(section_file):
    file = section_file("tracking: {report_to: wandb}\nother: 1\n")
    assert read_section(file, "tracking", TrackingSection).logging_steps == 10
    assert read_section(file, "resources", ResourcesSection, required=False) == ResourcesSection()
    with pytest.raises(HeirloomError, match="has no section `resources:`; it holds tracking, other"):
        read_section(file, "resources", ResourcesSection)


def test_a_script_tells_every_mistake_of_its_section(section_file):
    file = section_file("tracking:\n  report_to: [wandbb]\n  loging_steps: 3\n")
    with pytest.raises(ConfigErrors) as caught:
        read_section(file, "tracking", TrackingSection)
    assert str(caught.value).splitlines() == [
        f"{file}:2: tracking.report_to[0]: expected none, wandb, tensorboard, mlflow or trackio, found the text "
        "'wandbb'; did you mean wandb?",
        f"{file}:3: tracking.loging_steps: there is no such key; did you mean logging_steps?",
    ]
