"""The tiny world of the demo: a village with a lost-and-found office, and which of its finds are kept for testing.

A find is "On Monday Ada found a red kite at the mill.". Who found what decides for ever on which side it is: a hash
of those words says whether it is held out. Training data of every part draws from one side and test data from the
other, so that no held-out pair of finder and belonging can occur in training, whatever the seeds and the number of
rows. A model that answers a held-out question has looked the answer up in its prompt; it cannot have memorised it.
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
COLOURS = ("red", "blue", "green", "pink", "gold", "grey", "black", "white", "brown", "teal")
THINGS = (
    "kite", "drum", "boat", "hat", "ball", "lamp", "cup", "bell", "book", "flute",
    "ring", "sock", "duck", "fish", "bike", "map", "pen", "rope", "harp", "boot",
)
PLACES = ("mill", "pond", "barn", "gate", "well", "inn", "park", "hill", "lake", "tower", "bridge", "market")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: on

HELD_OUT_SHARE = 1 / 8

Item = TypeVar("Item")


class Find(NamedTuple):
    """What is true in one row: on `day`, `name` found a `colour` `thing` at the `place`."""

    name: str
    colour: str
    thing: str
    place: str
    day: str

    @property
    def held_out(self) -> bool:
        """Whether the find is kept for testing: a property of who found what, the same in every data set."""
        words = f"{self.name} {self.colour} {self.thing}"
        digest = hashlib.sha256(words.encode()).digest()
        return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64

    def told(self, form: str) -> str:
        """Put the find into a sentence form with places for its words."""
        return form.format_map(self._asdict())


def draw_find(rng: random.Random, held_out: bool) -> Find:
    """Draw a find of one side; all of them are equally likely."""
    while True:
        find = Find(*(pick(rng, words) for words in (NAMES, COLOURS, THINGS, PLACES, DAYS)))
        if find.held_out == held_out:
            return find


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """Draw one item, by `rng.random()`: the one method whose sequence Python promises to keep over versions."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: random.Random, items: Sequence[Item]) -> list[Item]:
    """Return the items in a random order, by `rng.random()` as well."""
    return [item for _, item in sorted(((rng.random(), index), item) for index, item in enumerate(items))]
