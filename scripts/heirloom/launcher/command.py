"""What the launcher is asked to start."""

import sys
from dataclasses import dataclass
from pathlib import Path

KINDS = ("python", "torchrun")
PORTABLE = "--portable"


@dataclass(frozen=True)
class Program:
    """A stage's script with its arguments; `kind` says how it is started (one of KINDS)."""

    kind: str
    script: Path
    arguments: tuple[str, ...]

    @property
    def portable(self) -> bool:
        """Whether the program is to give the same bytes on every x86-64 processor with AVX2 (`portable: true`)."""
        value = self.value_of(PORTABLE) or ""
        return value not in ("false", "0") and (bool(value) or PORTABLE in self.arguments)

    def value_of(self, flag: str) -> str | None:
        """Return what follows `flag` on the command line (`--flag x` or `--flag=x`), None when it is not there."""
        for position, argument in enumerate(self.arguments):
            if argument == flag and position + 1 < len(self.arguments):
                return self.arguments[position + 1]
            if argument.startswith(f"{flag}="):
                return argument.removeprefix(f"{flag}=")
        return None


def parse_command(arguments: list[str]) -> Program:
    """Return the program that `launch.py KIND SCRIPT ...` asks for; exit with status 2 and the usage otherwise."""
    if arguments and arguments[0].startswith("--") and arguments[0] != "--help":
        sys.exit(
            f"launch.py: {arguments[0].partition('=')[0]} is a flag of the tool before this one, whose runs are files "
            "now: `python scripts/import_command.py SCRIPT.sh` makes them of its commands (docs/migrating.md)"
        )
    if len(arguments) < 2 or arguments[0] not in KINDS:
        sys.exit(f"usage: launch.py {{{','.join(KINDS)}}} SCRIPT [ARGUMENTS]")
    script = Path(arguments[1])
    if not script.is_file():
        sys.exit(f"launch.py: there is no script {script}: name it relative to the current folder, {Path.cwd()}")
    return Program(arguments[0], script, tuple(arguments[2:]))
