"""The process in which math-verify reads answers: apart from the training, without its secrets, within limits.

    python -P scripts/heirloom/evaluation/math_worker.py

In:  a line of JSON for each answer on standard input: [reference, completion].
Out: a line for each: `1` where they are the same mathematically, else `0`.

A model's answer is not to be trusted: a short one may stand for a number of a billion digits. So each answer is
compared in a fork of its own, which the kernel ends after CPU_SECONDS of its CPU's time or beyond MEMORY. Time of the
CPU, as that of a clock would depend on what else a machine does. Only LaTeX is read, by a grammar: plain expressions go
through sympy's parse_expr, which evaluates Python.
"""

import json
import logging
import os
import re
import resource
import sys

CPU_SECONDS = 2
MEMORY = 4 << 30
"""Bytes of address space: what the libraries take, and room."""
ANSWER_ALONE = 100
"""Characters of a text that may be nothing but an answer."""
WORD = re.compile(r"(?<![A-Za-z\\\\])[A-Za-z]{2,}")
"""Letters beside each other that are no command: a word. As LaTeX they are a product, so that `no` would be `on`."""
MOST_FRAMES = 2000
"""Calls in calls of Python: so deep may an answer be nested before it is no answer."""


def main() -> None:
    logging.disable()  # it warns that nobody limits it, of each answer
    same("$1$", r"\boxed{1}")  # all forks find the libraries and their tables loaded
    for line in sys.stdin:
        print(int(apart(*json.loads(line))), flush=True)


def apart(reference: str, completion: str) -> bool:
    """Return `same`, from a process of its own; False where that did not come to an end."""
    process = os.fork()
    if not process:
        found = False
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            sys.setrecursionlimit(MOST_FRAMES)
            found = same(reference, completion)
        finally:  # whatever an answer has done to the libraries: it is none
            os._exit(not found)
    return os.waitpid(process, 0)[1] == 0


def same(reference: str, completion: str) -> bool:
    """Say whether a completion means what the reference does: math-verify's own comparison, reference first."""
    from math_verify import verify

    wanted, given = latex_in(reference), latex_in(completion)
    return bool(wanted) and bool(given) and verify(wanted, given, timeout_seconds=None)  # the kernel limits it


def latex_in(text: str) -> list:
    """Return what math-verify reads in a text. One without LaTeX is read as all LaTeX where it may be an answer alone,
    as `42`, `1/2` and `x^2` are.
    """
    from math_verify import LatexExtractionConfig, parse

    latex = [LatexExtractionConfig(boxed_match_priority=0)]
    found = parse(text, latex, parsing_timeout=None)
    alone = len(text) <= ANSWER_ALONE and not WORD.search(text)
    return found or (parse(f"${text}$", latex, parsing_timeout=None) if alone else [])


if __name__ == "__main__":
    main()
