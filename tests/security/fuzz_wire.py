"""Lines between hosts that are nearly right: what is received is what was sent, in order, up to the first change."""

import contextlib
import json
import random
import socket
import sys
from dataclasses import fields

from attackers import PROGRAM, REQUEST, SECRET, pair
from fuzzing import PLUGIN, by_hand, mutated, spoiled

from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.hosts.coordination import request_from
from heirloom.launcher.hosts.sealing import Seals

sys.path.insert(0, str(PLUGIN))

from snakemake_executor_plugin_sagemaker.container import channel  # noqa: E402 - found by the line above
from snakemake_executor_plugin_sagemaker.container.failure import Failure  # noqa: E402

EVENTS = [
    {"event": "join", "host": "algo-2", "stage": "train-x"},
    {"event": "alive"},
    {"event": "exited", "error": "é"},
]


def stream(purpose: str, head_nonce: bytes, chance: random.Random) -> bytes:
    """Return what a worker sends, changed by somebody who does not know the secret, or from one who does not."""
    seals = Seals(SECRET if chance.random() < 0.9 else SECRET[::-1], purpose, is_head=False)
    seals.agree(head_nonce)
    lines = [seals.nonce, *(seals.close(json.dumps(event).encode()) for event in EVENTS)]
    match chance.randrange(4):
        case 0:
            chance.shuffle(lines)
        case 1:
            lines = chance.choices(lines, k=4)
        case 2:
            at = chance.randrange(len(lines))
            lines[at] = mutated(lines[at], chance)
    data = b"".join(line + b"\n" for line in lines)
    return mutated(data, chance) if chance.random() < 0.5 else data


def send(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        to.sendall(data[:150_000])  # what a socket's buffer takes without a reader
    to.close()


def attack_launcher(chance: random.Random) -> None:
    ours, theirs = pair()
    head = Connection(ours, SECRET, is_head=True)
    theirs.settimeout(0.2)
    send(theirs, stream("launcher", head._seals.nonce, chance))
    received = []
    if head.greet(5):
        while (event := head.receive(5, 4096)) is not None:
            received.append(event)
    head.close()
    assert received == EVENTS[: len(received)]


def attack_container(chance: random.Random) -> None:
    ours, theirs = pair()
    head = channel._Connection(ours, SECRET, is_head=True)
    theirs.settimeout(0.2)
    send(theirs, stream("container", head._seals.nonce, chance))
    received = []
    if head.greet(5) and (first := head.first_event(5)):
        received = [first, *head.events()]
    head.close()
    expected = [event for event in EVENTS if event["event"] != "alive"]
    assert received == expected[: len(received)]


def attack_words(chance: random.Random) -> None:
    """A host that knows the secret says odd things: the program stays the stage's own, a failure is a text."""
    facts = json.loads(json.dumps(REQUEST.facts()))
    for _ in range(20):
        request = request_from(spoiled(facts, chance), "train-x", PROGRAM)
        assert request is None or (request.program, request.stage.name) == (PROGRAM, "train-x")
        failure = Failure.read(spoiled(Failure("algo-2", "out of memory", 1.0).as_dict(), chance))
        assert failure is None or all(
            isinstance(getattr(failure, each.name), float | int | str) for each in fields(failure)
        )
        if failure:
            assert failure.text.replace("\n", "").replace("\t", "").isprintable() and failure.sentence()


ATTACKS = {"launcher": attack_launcher, "container": attack_container, "words": attack_words}

if __name__ == "__main__":
    by_hand(ATTACKS)
