"""The metric and reward `math_verify`: is an answer the reference's, mathematically? Asked of a process of its own."""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from heirloom.errors import HeirloomError
from heirloom.evaluation import math_worker  # its code is the stage's, though another process runs it
from heirloom.evaluation.answer_metrics import references

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
"""What the process is told: no secret, and one order of sympy's sets."""
LIBRARIES = "LD_LIBRARY_PATH"
"""Where clusters' modules keep what Python itself needs: it is handed on."""
OF_THE_TRAINING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that a whole group of processes gets when a training is to stop. That keeps a checkpoint, for which it needs
the answers that are just compared. The process inherits that they are blocked, and ends when its input does."""
MOST_CHARACTERS = 20_000
"""Of a completion's end and of a reference: what is longer takes minutes to read and is no answer."""


def check_installed(place: str) -> None:
    """Raise HeirloomError where math-verify is not installed; `place`: the key of the run's file that needs it."""
    if find_spec("math_verify") is None:
        raise HeirloomError(
            f"{place}: math_verify needs the package math-verify, which is not installed in this "
            "environment: run `make setup`, or choose exact_match or numeric_match"
        )


class MathAnswers:
    """Compares answers by math-verify, in a process that begins with the first of them and ends with this one.

    See that it is installed before: `check_installed`.
    """

    worker: subprocess.Popen | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[float]:
        """Return 1 for each answer that is the reference's, else 0: also for one that is too long, too deep or costs
        too much to compare. Raises HeirloomError when the process ends.
        """
        return [self.same(row["reference"], row["completion"]) for row in rows]

    def same(self, reference: str, completion: str) -> float:
        if self.worker is None:
            self.worker = started()
        asked = json.dumps([reference[-MOST_CHARACTERS:], completion[-MOST_CHARACTERS:]])
        try:
            self.worker.stdin.write(asked.encode() + b"\n")
            self.worker.stdin.flush()
            said = self.worker.stdout.readline()
        except BrokenPipeError:
            said = b""
        if said.strip() not in (b"0", b"1"):
            raise HeirloomError(
                f"math_verify: its process ended ({self.worker.wait()}) beside {completion[:60]!r}: run "
                f"`python -P {math_worker.__file__}` to see why"
            )
        return float(said)

    def end(self) -> None:
        """Let the process end, which it does with its input."""
        if self.worker is not None:
            self.worker.communicate()


def started() -> subprocess.Popen:
    """Start the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_THE_TRAINING)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", math_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT | ({LIBRARIES: os.environ[LIBRARIES]} if LIBRARIES in os.environ else {}),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def math_matches(rows: Sequence[dict[str, Any]], place: str) -> list[float]:
    """Return for each row of generations.jsonl 1 where its answer is the reference's, else 0.

    `place`: the key in the run's file. Raises HeirloomError when a row has no reference or one that math-verify cannot
    read, and as MathAnswers does.
    """
    check_installed(place)
    wanted = references(rows, "math_verify")
    unread = [row for row, reference in zip(rows, wanted, strict=True) if not means_the_same(reference, reference)]
    if unread:
        raise HeirloomError(
            f"{place}: math_verify cannot read {len(unread)} of {len(rows)} references, first in "
            f"{unread[0]['row_id']}: write them as LaTeX (\\boxed{{42}}) by a processing function, or take "
            "numeric_match or exact_match"
        )
    return [means_the_same(reference, row["completion"]) for row, reference in zip(rows, wanted, strict=True)]


@functools.cache
def means_the_same(reference: str, completion: str) -> float:
    """Return what MathAnswers says of two texts, once for all comparisons of this process."""
    return compared().same(reference, completion)


@functools.cache
def compared() -> MathAnswers:
    """Return what compares for the metric; its process ends with this one."""
    answers = MathAnswers()
    atexit.register(answers.end)
    return answers
