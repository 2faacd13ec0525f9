"""`snakemake -n -p` prints what each stage executes; a job's shell passes over that line, whatever stands in it."""

import json
import re
import shlex
import subprocess

import pytest
from clone import Clone, succeeded

from heirloom.config.parsing.reading import read_yaml
from pipeline.graph import shown

ODD = 'config/it\'s {a} #1 of "$(touch made)" ${HOME} {params.force} \\$x\t; touch made'
JOB = re.compile(r"^ *# (python scripts/launch\.py .*)\n *python workflow/pipeline run (\S+) ", re.MULTILINE)


@pytest.fixture
def odd(clone: Clone) -> Clone:
    """A clone in which one stage reads a file whose name holds what shells, Snakemake and DVC care about."""
    (clone.folder / "config/chats.jsonl").rename(clone.folder / ODD)
    clone.edit("config/datasets/chats.yaml", "config/chats.jsonl", json.dumps(ODD))
    return clone


def test_the_very_command_is_shown_and_only_shown(odd: Clone) -> None:
    done = succeeded(odd.snakemake("-n", "-p"))
    seen = {name: command for command, name in JOB.findall(done.stdout)}
    words = shlex.split(seen["process-chats"].replace("'$'\\t''", "\t"))
    assert words[words.index("--raw") + 1] == ODD
    assert seen["train-sft"] == (
        "python scripts/launch.py torchrun scripts/sft_train.py --config config/runs/sft.yaml --sections training "
        "--dataset data/processed/chats --base checkpoints/pre --output checkpoints/sft "
        "--metrics metrics/training/sft.json --loss metrics/loss/sft.csv"
    )
    succeeded(odd.snakemake("--until", "process"))
    assert odd.executed() == ["process-chats"]
    assert not (odd.folder / "made").exists()
    recorded = read_yaml(odd.folder / "dvc.lock")["stages"]
    assert {name: shown(recorded[name]["cmd"]) for name in seen} == seen


def test_a_command_is_one_line_that_a_shell_reads_as_the_same_words() -> None:
    words = ["a\nb", "c\td\r\x1b[1m\x7f", "it's\n'", "\n", "${x}\n\\${y}", "ä"]
    line = shown(shlex.join(words))
    assert line.isprintable()
    printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    assert printed.decode().split("\0")[:-1] == words
