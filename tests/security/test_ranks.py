"""What ranks tell each other is data: a process that gets into their group runs no code in the others."""

import ast
import pickle
from pathlib import Path

import pytest
import torch

from heirloom.distributed import gathered, gathered_rows

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


class Planted:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("pwned"),))


def test_a_false_rank_runs_nothing(group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may send any bytes where a rank's value is expected, also what torch's own collectives would unpickle."""
    monkeypatch.chdir(tmp_path)
    payload = torch.frombuffer(bytearray(pickle.dumps(Planted())), dtype=torch.uint8)
    sent = iter([[torch.tensor([1]), torch.tensor([len(payload)])], [torch.zeros(1, dtype=torch.uint8), payload]])
    monkeypatch.setattr(torch.distributed, "all_gather", lambda found, _: found.__setitem__(slice(None), next(sent)))
    with pytest.raises(ValueError):
        gathered(["x"])
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
