"""torchrun's stand-in: runs the script once, as the only rank, without importing torch."""

import runpy
import sys


def main(arguments: list[str]) -> None:
    script = next(word for word in arguments if word.endswith(".py"))
    sys.argv = arguments[arguments.index(script) :]
    sys.path.insert(0, "scripts")
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
