"""Find the former tool's commands in a shell script: continued lines, comments in backticks and variables included."""

import re
import shlex
from dataclasses import dataclass

from heirloom.errors import HeirloomError

PROGRAMS = ("launch.py", "create_dataset.py")
SWITCHES = ("debug", "process_locally", "add_generation_prompt", "remove_columns")
"""Flags of create_dataset.py that take no value, and can have `no-` before them."""
BACKTICKS = re.compile(r"`#[^`]*`")
ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$")
VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)")
END_OF_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "2>&1", "2>", "1>"}


@dataclass(frozen=True)
class Command:
    """One command of the former tool; names of flags are written with `_`, in the order in which they stand."""

    program: str
    positional: tuple[str, ...]
    flags: dict[str, str]


def commands_in(text: str, place: str) -> list[Command]:
    """Return the commands that a script holds. Raises HeirloomError when there is none, or one that cannot be read."""
    variables: dict[str, str] = {}
    found = []
    for line in logical_lines(text):
        assigned = ASSIGNMENT.match(line)
        if assigned:
            variables[assigned[1]] = filled_in(" ".join(words_of(assigned[2], place)), variables)
        elif any(program in line for program in PROGRAMS) and not line.lstrip().startswith("#"):
            found.append(command_of(words_of(filled_in(line, variables), place), place))
    if not found:
        raise HeirloomError(f"{place}: holds no command of {' or '.join(PROGRAMS)}: give a script that calls one")
    return found


def logical_lines(text: str) -> list[str]:
    """Return a script's lines, those that end in a backslash joined with the next, without comments in backticks."""
    joined = re.sub(r"\\[ \t]*\r?\n", " ", BACKTICKS.sub("", text) + "\n")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("%%")]


def words_of(line: str, place: str) -> list[str]:
    """Return a line's words as a shell would."""
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise HeirloomError(f"{place}: {line.strip()[:60]}: cannot be read ({error}): mend its quotes") from None


def filled_in(text: str, variables: dict[str, str]) -> str:
    """Return a text with the variables that the script itself sets; others stay as they are written."""
    return VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), text)


def command_of(words: list[str], place: str) -> Command:
    """Return the command in the words of a line. Raises HeirloomError for a flag that is given twice."""
    at = next(index for index, word in enumerate(words) if word.endswith(PROGRAMS))
    program = next(program for program in PROGRAMS if words[at].endswith(program))
    flags: dict[str, str] = {}
    positional: list[str] = []
    open_flag = None
    for word in words[at + 1 :]:
        if word in END_OF_COMMAND or word.startswith("2>"):
            break
        name, equals, value = word.partition("=")
        if re.fullmatch(r"--[A-Za-z][\w-]*", name):
            key = name[2:].replace("-", "_")
            switched_off = key.startswith("no_") and key[3:] in SWITCHES
            key = key[3:] if switched_off else key
            if key in flags:
                raise HeirloomError(f"{place}: --{key} is given twice: keep one")
            flags[key] = value if equals else str(not switched_off)
            open_flag = None if equals or key in SWITCHES else key
        elif open_flag is not None:
            flags[open_flag] = word
            open_flag = None
        else:
            positional.append(word)
    return Command(program, tuple(positional), flags)
