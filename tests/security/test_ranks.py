"""What ranks tell each other is data: a process that gets into their group runs no code in the others."""

import ast
import contextlib
import os
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed.run
from attackers import Planted
from torch.distributed import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

from heirloom.distributed import gathered, gathered_rows
from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program
from heirloom.launcher.environment import for_program
from heirloom.launcher.hosts import torchrun_here
from heirloom.launcher.hosts.detection import LocalHost
from heirloom.launcher.ranks import Ranks, free_port
from heirloom.launcher.work import WorkFolder

SOMEBODY = 2001
"""The number of another user."""
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def group(tmp_path: Path):
    """A group of ranks that this process is alone in."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


VALUES = [{"a": 3, "ä\udc80": [1.1e-300, None, True]}, [], 7, ["x" * 100_000], [[0, [[1.5, 2]]]]]


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_ranks_get_what_was_offered(group, number: int) -> None:
    assert gathered(VALUES[number]) == [VALUES[number]]


def test_rows_of_all_ranks_are_one_list(group, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gathered_rows([{"row": 1}, {"row": 2}]) == [{"row": 1}, {"row": 2}]


def test_a_false_rank_runs_nothing(group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may send any bytes where a rank's value is expected, also what torch's own collectives would unpickle."""
    monkeypatch.chdir(tmp_path)
    payload = torch.frombuffer(bytearray(pickle.dumps(Planted())), dtype=torch.uint8)
    sent = iter([[torch.tensor([1]), torch.tensor([len(payload)])], [torch.zeros(1, dtype=torch.uint8), payload]])
    monkeypatch.setattr(torch.distributed, "all_gather", lambda found, _: found.__setitem__(slice(None), next(sent)))
    with pytest.raises(HeirloomError, match="is no value of ours; somebody else can reach the ports"):
        gathered(["x"])
    assert not Path("pwned").exists()


def false_rank(port: int, limit: timedelta) -> None:
    """Do what the attack did, as another user: know the port alone, become rank 1, offer a pickle to rank 0."""
    os.setgroups([])
    os.setgid(SOMEBODY)
    os.setuid(SOMEBODY)
    torch.distributed.init_process_group("gloo", store=meeting_place(port, limit), rank=1, world_size=2, timeout=limit)
    payload = torch.frombuffer(bytearray(pickle.dumps(Planted())), dtype=torch.uint8)
    for offered in (torch.tensor([len(payload)]), payload):
        torch.distributed.all_gather([torch.empty_like(offered) for _ in range(2)], offered)


def meeting_place(port: int, limit: timedelta) -> PrefixStore:
    return PrefixStore("none", TCPStore("127.0.0.1", port, is_master=False, timeout=limit))


@pytest.mark.skipif(os.getuid() != 0, reason="another user is played by a process that root gives away")
def test_another_user_of_the_machine_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loopback torch's store asks nobody who they are: whoever is a rank ends the training, and no more."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    limit = timedelta(seconds=60)
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=limit)
    child = os.fork()
    if not child:
        with contextlib.suppress(Exception):
            false_rank(server.port, limit)
        os._exit(0)
    store = meeting_place(server.port, limit)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=2, timeout=limit)
    try:
        with pytest.raises(HeirloomError, match="is no value of ours; somebody else can reach the ports"):
            gathered(["x"])
    finally:
        torch.distributed.destroy_process_group()
        os.waitpid(child, 0)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("claimed", [1 << 40, -1])
def test_a_false_rank_costs_no_memory_without_end(group, monkeypatch: pytest.MonkeyPatch, claimed: int) -> None:
    sizes = [torch.tensor([1]), torch.tensor([claimed])]
    monkeypatch.setattr(torch.distributed, "all_gather", lambda found, _: found.__setitem__(slice(None), sizes))
    with pytest.raises(ValueError, match="a rank offers"):
        gathered(7)


def test_no_collective_of_ours_carries_pickles() -> None:
    used = {}
    for file in SCRIPTS.rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        used[file.name] = {name for name in names if "object" in name and ("gather" in name or "broadcast" in name)}
    assert {name: found for name, found in used.items() if found} == {}


def listening(port: int) -> set[str]:
    """Return the addresses at which something on this machine listens to a port, as the kernel writes them."""
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    places = [words[1].split(":") for words in lines if words[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def test_ranks_of_one_machine_meet_where_no_other_machine_can_reach_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack: torchrun's store listened on [::] for a demo on a laptop, and whoever called it became a rank."""
    port, found = free_port("127.0.0.1"), {}

    def start(arguments: list[str]) -> None:
        store = StaticTCPRendezvous("127.0.0.1", port, 0, 1, "none", 30).next_rendezvous().store
        store.set("key", "value")
        rank = TCPStore("127.0.0.1", port, is_master=False)
        found.update(listening=listening(port), value=rank.get("none/key"), arguments=arguments[2:])
        found["notes"] = Path(arguments[1])
        assert arguments[0] == "--log-dir" and found["notes"].is_dir()

    monkeypatch.setattr(StaticTCPRendezvous, "next_rendezvous", StaticTCPRendezvous.next_rendezvous)  # put back later
    monkeypatch.setattr(torch.distributed.run, "main", start)
    torchrun_here.run(["--rdzv-backend", "static"])
    assert not found.pop("notes").exists()
    assert found == {"listening": {"0100007F"}, "value": b"value", "arguments": ["--rdzv-backend", "static"]}


def test_the_launcher_starts_ranks_of_one_machine_so() -> None:
    command = LocalHost(0).command(Program("torchrun", Path("x.py"), ()), Ranks(1, 2, "cpu"))
    assert Path(command[1]) == Path(torchrun_here.__file__)
    for device in ("cpu", "gpu"):
        variables = for_program("torchrun", Ranks(1, 2, device), WorkFolder(Path("work")), None, None)
        assert (variables["GLOO_SOCKET_IFNAME"], variables["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")
        variables = for_program("torchrun", Ranks(2, 2, device), WorkFolder(Path("work")), None, None)
        assert not {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} & variables.keys()


def test_a_rank_knows_its_torchrun_by_name() -> None:
    """A rank whose parent is no torchrun ends at once: another process has adopted it."""
    program = "import os, subprocess, sys; sys.path.insert(0, sys.argv[2]); import heirloom.rank; print('alive')"
    words = [sys.executable, "-c", program]
    for starter, alive in ((torchrun_here.__file__, True), ("somebody.py", False)):
        start = f"import subprocess, sys; sys.exit(subprocess.run({words!r} + sys.argv[1:]).returncode)"
        command, variables = [sys.executable, "-c", start, starter, str(SCRIPTS)], {"TORCHELASTIC_RUN_ID": "none"}
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        assert (done.stdout == "alive\n") == alive, done.stderr
        assert ("torchrun died before this rank began" in done.stderr) != alive
