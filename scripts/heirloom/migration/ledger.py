"""What became of each flag of a command: every one is accounted for once."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from heirloom.errors import HeirloomError, plain
from heirloom.migration.commands import VARIABLE

Number = TypeVar("Number", int, float)


@dataclass
class Fate:
    """What became of a flag: its line in a file, or the reason why it has none."""

    flag: str
    how: str
    """kept, renamed, default, dropped or TODO."""
    words: str = ""
    secret: bool = False


@dataclass
class Account:
    """The flags of one command, and what is still to be decided by hand."""

    flags: dict[str, str]
    fates: dict[str, Fate] = field(default_factory=dict)
    todo: list[str] = field(default_factory=list)
    path: str = ""
    """The file that the command became."""

    def __getitem__(self, flag: str) -> str | None:
        return self.flags.get(flag)

    def number(self, flag: str, default: Number) -> Number:
        """Return a flag's number, of the default's type. Raises HeirloomError for what is none."""
        text = self[flag]
        if not text or VARIABLE.search(text):
            return default
        try:
            return type(default)(text)
        except ValueError:
            wanted = "a whole number" if isinstance(default, int) else "a number"
            raise HeirloomError(f"--{flag}: expected {wanted}, found {text!r}: mend the command") from None

    def settle(self, flag: str, how: str, words: str = "", *, secret: bool = False) -> None:
        """Say what became of a flag, if it was given."""
        if flag in self.flags:
            assert flag not in self.fates, f"--{flag} is accounted for twice"
            self.fates[flag] = Fate(flag, how, words, secret)

    def open(self, words: str) -> None:
        """Note what cannot be known here."""
        self.todo.append(words)

    def lines(self) -> list[str]:
        """Return the comment lines of an imported file: a flag a line, a credential's value on none."""
        assert not (lost := self.flags.keys() - self.fates.keys()), f"flags without a fate: {lost}"
        found = []
        for flag in self.flags:
            fate = self.fates[flag]
            given = f"--{flag}" if fate.secret else f"--{flag}={self.flags[flag]}"
            found.append(f"# {given}: {fate.how}{f', {fate.words}' if fate.words else ''}")
        return [plain(line) for line in (*found, *(f"# TODO {words}" for words in self.todo))]


def truth(text: str | None, default: bool = False) -> bool:
    """Return what a flag of the former tool means: True, 1, yes; or False, 0, no."""
    return default if text is None else text.strip().lower() in ("true", "1", "yes", "y", "t")


Files = dict[str, dict[str, Any]]
"""Path of a file of config/ → its value."""
