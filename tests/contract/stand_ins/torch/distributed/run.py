"""torchrun's stand-in: runs the script once, as the only rank, without importing torch."""

import runpy
import sys

script = next(word for word in sys.argv[1:] if word.endswith(".py"))
sys.argv = sys.argv[sys.argv.index(script) :]
sys.path.insert(0, "scripts")
runpy.run_path(script, run_name="__main__")
