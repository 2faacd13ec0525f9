"""The tiny world of the demo: who may own what, and which facts are kept for testing.

A fact is "Ada has a red kite.". Every possible fact belongs for ever to one side: the hash of its three words
decides whether it is held out. Training data of every part draws from one side and test data from the other, so no
held-out fact can occur in training, whatever the seeds and the number of rows. A model that answers a
held-out question has looked the answer up in the prompt; it cannot have memorised it.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

# fmt: off
NAMES = (
    "Ada", "Bo", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hal", "Ida", "Jon", "Kim", "Leo",
    "Mia", "Ned", "Ola", "Pia", "Rex", "Sam", "Tom", "Uma", "Vic", "Wes", "Yan", "Zoe",
)
COLOURS = (
    "red", "blue", "green", "pink", "gold", "grey", "black", "white", "brown", "teal",
)
THINGS = (
    "kite", "drum", "boat", "hat", "ball", "lamp", "cup", "bell", "book", "flute", "ring", "cake",
    "duck", "fish", "bike", "map", "sock", "pen", "rope", "harp",
)
# fmt: on

HELD_OUT_SHARE = 1 / 8

Item = TypeVar("Item")


class Fact(NamedTuple):
    """One thing that is true in a scene: `name` has a `colour` `thing`."""

    name: str
    colour: str
    thing: str

    @property
    def belonging(self) -> str:
        """What is owned, without an article: "red kite"."""
        return f"{self.colour} {self.thing}"

    @property
    def sentence(self) -> str:
        """The fact as it is told: "Ada has a red kite."."""
        return f"{self.name} has a {self.belonging}."

    @property
    def held_out(self) -> bool:
        """Whether the fact is kept for testing: a property of its words alone, the same in every data set."""
        digest = hashlib.sha256(" ".join(self).encode()).digest()
        return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def draw_scene(rng: random.Random, size: int, held_out: bool) -> list[Fact]:
    """Draw `size` facts of one side in which no name, colour or thing occurs twice, so that answers are unique."""
    while True:
        columns = (shuffled(rng, words)[:size] for words in (NAMES, COLOURS, THINGS))
        scene = [match(rng, fact, held_out) for fact in map(Fact, *columns)]
        if all(len(set(column)) == size for column in zip(*scene, strict=True)):
            return scene


def match(rng: random.Random, fact: Fact, held_out: bool) -> Fact:
    """Draw new belongings for `fact.name` until the fact is on the wanted side."""
    while fact.held_out != held_out:
        fact = Fact(fact.name, pick(rng, COLOURS), pick(rng, THINGS))
    return fact


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """Draw one item, by `rng.random()`: the one method whose sequence Python promises to keep over versions."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: random.Random, items: Sequence[Item]) -> list[Item]:
    """Return the items in a random order, by `rng.random()` as well."""
    return [item for _, item in sorted(((rng.random(), index), item) for index, item in enumerate(items))]
