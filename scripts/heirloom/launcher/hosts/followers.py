"""How the launcher of a training job's head has the ranks of the other hosts started, and how all hosts end together.

A follower connects to the head, again and again until the head's launcher runs: a head that hashes or restores for
minutes leaves nobody in a rendezvous, and when it has nothing to execute the follower is ended by whoever started it.

    follower → head   join: host, stage          ended: exit_code, error
    head → follower   go: what to run (Call)     signal: number      over: success     dismissed

What the follower runs comes from the head that it connects to by name; it makes the command and the variables itself,
of the script and its arguments, so no secret is sent. The first real error of any host is the error of the stage.
"""

import queue
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heirloom.launcher.command import Program
from heirloom.launcher.failure import is_consequence
from heirloom.launcher.hosts.connection import Connection
from heirloom.launcher.ledger import Stage
from heirloom.launcher.processes import Outcome, Running, say
from heirloom.launcher.ranks import Ranks

PORT = 7712
SETTLE = 10.0
"""Seconds that a host's ranks have to end by themselves, and to tell why, when those of another host have failed."""
KNOWN = 2.0
"""The same where the failure tells its cause itself."""
PATIENCE = 60.0
"""Seconds that other hosts' ranks may take to end when those of the head have ended well."""
FAREWELL = 15.0
"""Seconds that the head waits for the others at the end, to dismiss them."""
RETRY = 0.5
HELLO = 5.0


@dataclass(frozen=True)
class Call:
    """What all hosts run together."""

    program: Program
    stage: Stage
    ranks: Ranks
    commit: str | None
    port: int = 0
    """Where ranks meet, at the head's address."""

    def facts(self) -> dict[str, Any]:
        """Return what `called` takes."""
        program = {**asdict(self.program), "script": str(self.program.script)}
        own = {"commit": self.commit, "port": self.port}
        return {"program": program, "stage": asdict(self.stage), "ranks": asdict(self.ranks), **own}


def called(facts: dict[str, Any]) -> Call:
    """Return the call that another host has sent."""
    program = facts["program"]
    return Call(
        Program(program["kind"], Path(program["script"]), tuple(program["arguments"])),
        Stage(**facts["stage"]),
        Ranks(**facts["ranks"]),
        facts["commit"],
        facts["port"],
    )


def gather(head: str, others: tuple[str, ...], stage: str, seconds: float | None = None) -> dict[str, Connection]:
    """Return a connection to each other host by name, once all have come or so many seconds are over.

    Only hosts of this job that wait for this stage are let in.
    """
    joined: dict[str, Connection] = {}
    deadline = None if seconds is None else time.monotonic() + seconds
    # hosts that are numbers of the loopback are alone on this machine; others are reached by name
    address = head if head.startswith("127.") else ""
    with socket.create_server((address, PORT), backlog=len(others)) as server:
        while len(joined) < len(others):
            if deadline is not None:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection = Connection(server.accept()[0])
            except TimeoutError:
                break
            hello = connection.receive(HELLO) or {}
            if hello.get("host") not in others or hello.get("stage") != stage:
                connection.close()
                continue
            if hello["host"] in joined:  # it was started anew
                joined[hello["host"]].close()
            joined[hello["host"]] = connection
    return joined


def dismiss(head: str, others: tuple[str, ...], stage: str) -> None:
    """Tell the followers of a stage that its result is safe. One that does not come is left to its own devices."""
    for connection in gather(head, others, stage, FAREWELL).values():
        connection.send("dismissed")
        connection.close()


class Summons:
    """The head's end: calls all other hosts, and holds their ranks and those of the head together."""

    def __init__(self, head: str, others: tuple[str, ...], call: Call) -> None:
        self._head, self._others, self._call = head, others, call
        self._joined: dict[str, Connection] = {}
        self._changed = threading.Condition()
        self._ended: dict[str, Outcome] = {}
        self._running: Running | None = None
        self._killed = False
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def __enter__(self) -> "Summons":
        """Wait until all other hosts are there, and let them begin."""
        say(f"{self._call.stage.name}: waiting for {', '.join(self._others)}")
        self._joined = gather(self._head, self._others, self._call.stage.name)
        for name, connection in self._joined.items():
            connection.send("go", **self._call.facts())
            threading.Thread(target=self._listen, args=(name, connection), daemon=True).start()
        threading.Thread(target=self._pass_on_signals, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._joined.values():
            connection.close()

    def _listen(self, name: str, connection: Connection) -> None:
        ended = next((event for event in connection.events() if event["event"] == "ended"), None)
        if ended is None:
            outcome = Outcome(1, f"the host was lost: no sign of life from {name}")
        else:
            outcome = Outcome(ended["exit_code"], ended["error"])
        with self._changed:
            self._ended[name] = outcome
            self._changed.notify_all()
        if outcome.exit_code:
            self._end_ours(time_to_settle(outcome))

    def _end_ours(self, seconds: float) -> None:
        """Kill the head's ranks if they do not end by themselves: they may wait long for those that are gone."""
        with self._changed:
            began = self._changed.wait_for(lambda: self._running is not None, SETTLE)
        if began and not self._running.wait(seconds):
            self._killed = True
            self._running.kill()

    def _pass_on_signals(self) -> None:
        while True:
            number = self._signals.get()
            for connection in self._joined.values():
                connection.send("signal", number=number)

    def began(self, running: Running) -> None:
        with self._changed:
            self._running = running
            self._changed.notify_all()

    def signalled(self, number: int) -> None:
        self._signals.put(number)  # which is allowed in a signal handler

    def ended(self, own: Outcome) -> Outcome:
        """Return how all hosts' ranks have ended, and tell the other hosts: the first real error counts."""
        names = set(self._others)
        with self._changed:
            self._changed.wait_for(lambda: self._ended.keys() == names, time_to_settle(own))
            late = [name for name in self._others if name not in self._ended]
            outcomes = [
                Outcome(outcome.exit_code, f"{name}: {outcome.error}")
                for name, outcome in self._ended.items()
                if outcome.exit_code
            ]
        if late and not own.exit_code:
            outcomes.append(Outcome(1, f"{late[0]}: its ranks did not end within {PATIENCE:.0f} s of the head's"))
        if own.exit_code and not self._killed:
            outcomes.insert(0, own)
        outcomes.sort(key=lambda outcome: is_consequence(outcome.error))  # which keeps the order else
        for connection in self._joined.values():
            connection.send("over", success=not outcomes)
        return outcomes[0] if outcomes else own


def time_to_settle(outcome: Outcome) -> float:
    """Return how many seconds other hosts have to end after one has ended in this way."""
    if not outcome.exit_code:
        return PATIENCE
    return SETTLE if is_consequence(outcome.error) else KNOWN


class Following:
    """A follower's end, once the head has called."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._over = threading.Event()
        self._success: bool | None = None

    def began(self, running: Running) -> None:
        threading.Thread(target=self._listen, args=(running,), daemon=True).start()

    def _listen(self, running: Running) -> None:
        for event in self._connection.events():
            if event["event"] == "signal":
                running.ask_to_end(event["number"])
            elif event["event"] == "over":
                self._success = event["success"]
                break
        running.kill()  # what still runs waits for ranks that are gone
        self._over.set()

    def signalled(self, number: int) -> None:
        """Nothing is passed on: whoever ends a training job signals all its hosts."""

    def ended(self, own: Outcome) -> Outcome:
        """Tell the head how this host's ranks have ended, and return what has become of all: the head knows.

        Exit code 0 says that the head has the last word, whatever it is: it tells the user what went wrong.
        """
        self._connection.send("ended", exit_code=own.exit_code, error=own.error)
        self._over.wait()
        if self._success is None:
            return Outcome(own.exit_code or 1, own.error or "the head was lost: no sign of life from it")
        return Outcome(0, "" if self._success else own.error or "it failed on another host")


def wait_for_head(head: str, host: str, stage: str) -> tuple[Call, Connection] | None:
    """Return the head's call and the connection to it, None when the head dismisses this host.

    Waits until the head executes `stage`, and after that until its result is safe.
    """
    while True:
        try:
            # also while the head's name does not resolve yet
            connection = Connection(socket.create_connection((head, PORT), timeout=HELLO))
        except OSError:
            time.sleep(RETRY)
            continue
        connection.send("join", host=host, stage=stage)
        event = connection.receive() or {}
        if event.get("event") == "go":
            return called(event), connection
        connection.close()
        if event.get("event") == "dismissed":
            return None
        time.sleep(RETRY)
