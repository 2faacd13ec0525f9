"""What the fuzzers share: bytes that are nearly right, from a seed, and how long to go on.

PYTHONPATH=scripts python tests/security/fuzz_datasets.py --seed 7 --seconds 1200
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[2] / "workflow/plugins/snakemake-executor-plugin-sagemaker/src"
ODD = [
    b"[" * 2000, b"{" * 300, b'{"a":' * 150, b"9" * 5000, b"1e999", b"-Infinity", b"NaN", b"null", b"x" * 70_000,
    b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud83d", b"\xed\xa0\xbd", b"\x00", b"\xe2\x80\xa8", b'"', b'""', b"\t", b",",
    b"\r", b"\n", b"\r\n", b"0" * 32 + b"\n", b"f" * 64, b'{"event": "released"}\n',
]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a few changes; sometimes with none."""
    made = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(made) + 1)
        upto = min(len(made), at + chance.choice((1, 1, 4, 64, len(made) + 1)))
        match chance.randrange(6):
            case 0 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                del made[at:upto]
            case 2:
                made[at:at] = made[at:upto]
            case 3:
                made[at:at] = chance.choice(ODD)
            case 4:
                made[at:upto] = chance.choice(ODD)
            case _:
                made[at:at] = chance.randbytes(chance.choice((1, 3, 200)))
    return bytes(made)


def deep(levels: int) -> list:
    """Return lists in lists."""
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


def odd(chance: random.Random) -> object:
    """Return a value of JSON that nobody expects."""
    numbers = [None, True, -1, 2**70, 10**400, 1.5, float("nan"), float("inf")]
    lists = [[], [[1]], deep(chance.choice((90, 900))), {}, {"a": 1}]
    plain = [*numbers, *lists, "", "x" * 5000, "\x1b]52;c;eA==\x07", "../" * 9]
    return chance.choice([*plain, *(each.decode("utf-8", "replace") for each in ODD)])


def spoiled(value: object, chance: random.Random) -> object:
    """Return a value with one part of it exchanged, left out or added."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        kept = {each: value[each] for each in value if each != key or chance.random() < 0.9}
        return {**kept, chance.choice([key, key, key, "more"]): spoiled(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], spoiled(value[at], chance), *value[at + 1 :]]
    return odd(chance)


def go_on(attack: Callable[[random.Random], None], seed: int, executions: int, seconds: float = float("inf")) -> int:
    """Attack so often, or so long, each time from a seed of its own, which a failure names; return how often."""
    began, done = time.monotonic(), 0
    while done < executions and time.monotonic() - began < seconds:
        try:
            attack(random.Random(f"{seed}/{done}"))
        except Exception as error:
            raise AssertionError(f"seed {seed}, execution {done}: {type(error).__name__}: {error}") from error
        done += 1
    return done


def by_hand(attacks: dict[str, Callable[[random.Random], None]]) -> None:
    """Run each attack for an equal part of the seconds that the command line gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    for name, attack in attacks.items():
        done = go_on(attack, given.seed, 1 << 60, given.seconds / len(attacks))
        print(f"{name}: {done} executions, no crash", flush=True)
