"""The rooms of the house: folders of modules that import one way only, each small enough to be seen at once.

A failing test prints the arrows as they are.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_MODULES = 15

# From the ground up: a room imports from those in the lines above its own. "" is the folder itself.
PIPELINE = [
    [""],
    ["graph"],
    ["code", "records"],
    ["ledger"],
    ["plan", "execution", "provenance", "rehearsal"],
    ["upkeep", "session"],
    ["watch"],
]
LIBRARY = [
    [""],
    ["arithmetic", "records"],
    ["config.parsing"],
    ["config.arguments"],
    ["config.sections", "config.trainers", "config.sweeps"],
    ["config.before_training"],
    ["config.keys"],
    ["config"],
    ["estimates"],
    ["data.raw", "data.chats", "models"],
    ["models.adapters"],
    ["data.rows"],
    ["data"],
    ["data.first_look"],
    ["inference", "rehearsal"],
    ["inference.vllm"],
    ["evaluation"],
    ["evaluation.likelihoods"],
    ["evaluation.rewards", "evaluation.harness"],
    ["training.inputs", "training.rewards"],
    ["training.callbacks", "training.checkpoints"],
    ["training.batches"],
    ["training.losses"],
    ["training.trainers"],
    ["training"],
    ["report.rewards"],
    ["report"],
    # beside the others: what starts the programs, looks at the machine, invents the demo's data, reads former commands,
    # takes what was made to registries
    ["launcher", "demo", "migration", "publishing"],
    ["launcher.hosts", "doctor"],
]
HOUSES = [("workflow", "pipeline", PIPELINE), ("scripts", "heirloom", LIBRARY)]


class House:
    """All modules of one package, and which room each import of them leads to."""

    def __init__(self, root: str, package: str) -> None:
        self.root, self.package = REPOSITORY / root, package
        self.files = sorted((self.root / package).rglob("*.py"))

    def room(self, file: Path) -> str:
        """Return the room that a module stands in, such as `ledger` or `training.callbacks`."""
        return ".".join(file.parent.relative_to(self.root / self.package).parts)

    def imports(self, file: Path) -> Iterator[tuple[str, str]]:
        """Yield (room, name) of all that a module imports from the house; name is "" for a whole module."""
        text = file.read_text()
        if file.suffix == ".smk":  # Python with words of Snakemake's: imports stand at its top
            text = "\n".join(line for line in text.splitlines() if line.startswith(("from ", "import ")))
        for node in ast.walk(ast.parse(text)):
            found = []
            if isinstance(node, ast.Import):
                found = [(alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [(node.module or "", alias.name) for alias in node.names]
            for module, name in found:
                if module.split(".")[0] == self.package:
                    yield self._place(module, name)

    def _place(self, module: str, name: str) -> tuple[str, str]:
        target = self.root.joinpath(*module.split("."))
        if target.is_dir():
            return self.room(target / "module.py"), name
        assert target.with_suffix(".py").is_file(), f"{module} is nowhere"
        return self.room(target), ""

    def arrows(self) -> Counter[tuple[str, str]]:
        """Return how many imports lead from one room to another."""
        pairs = [(self.room(file), room) for file in self.files for room, _ in self.imports(file)]
        return Counter((here, there) for here, there in pairs if here != there)


def drawn(arrows: Counter[tuple[str, str]], rooms: list[list[str]]) -> str:
    """Return the arrows as lines of text, the lowest room first, those that run upwards marked."""
    floor = {room: number for number, row in enumerate(rooms) for room in row}
    lines = [f"{here or '·'} → {there or '·'}  ({count} imports)" for (here, there), count in arrows.items()]
    marks = ["" if floor[there] < floor[here] else "   ← runs upwards" for here, there in arrows]
    return "\n".join(sorted(line + mark for line, mark in zip(lines, marks, strict=True)))


@pytest.mark.parametrize(("root", "package", "rooms"), HOUSES, ids=["pipeline", "heirloom"])
def test_imports_lead_downwards(root: str, package: str, rooms: list[list[str]]):
    house = House(root, package)
    found = {house.room(file) for file in house.files}
    assert found == {room for row in rooms for room in row}, "a new room wants a place in this test's list"
    floor = {room: number for number, row in enumerate(rooms) for room in row}
    entry = house.root / package / "__main__.py"
    arrows = house.arrows() - Counter(("", room) for room, _ in (house.imports(entry) if entry.exists() else ()))
    upwards = [(here, there) for here, there in arrows if floor[there] >= floor[here]]
    assert not upwards, f"\n{drawn(arrows, rooms)}"


@pytest.mark.parametrize(("root", "package", "rooms"), HOUSES, ids=["pipeline", "heirloom"])
def test_a_room_can_be_seen_at_once(root: str, package: str, rooms: list[list[str]]):
    house = House(root, package)
    sizes = Counter(house.room(file) for file in house.files if file.name != "__init__.py")
    assert {room: size for room, size in sizes.items() if size > MOST_MODULES} == {}


def test_rooms_of_the_pipeline_are_entered_by_their_doors():
    """A room's `__init__` says what it is for and names all that others use of it; it names nothing in vain."""
    house = House("workflow", "pipeline")
    doors = {}
    for room in sorted({room for row in PIPELINE for room in row} - {""}):
        tree = ast.parse((house.root / house.package / room / "__init__.py").read_text())
        assert ast.get_docstring(tree), f"{room} does not say what it is for"
        doors[room] = set(next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)))
    used = {room: set() for room in doors}
    users = [*house.files, *REPOSITORY.glob("scripts/*.py"), *REPOSITORY.glob("rules/common.smk")]
    past = []
    for file in users:
        inside = house.room(file) if file in house.files else None
        for room, name in house.imports(file):
            if room and room != inside:
                used[room].add(name)
                past += [f"{file.relative_to(REPOSITORY)} enters {room} past its door"] if not name else []
    assert past == []
    assert used == doors
