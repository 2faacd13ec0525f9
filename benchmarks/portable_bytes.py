"""Which settings make a training on the CPU give the same bytes on every kind of processor, and what they cost.

    python benchmarks/portable_bytes.py [--processors Haswell,EPYC,EPYC-Milan,Skylake-Client] [--settings portable]

A tiny training in plain torch (benchmarks/portable_programs/tiny_training.py) runs on this processor and, under
qemu-user (Debian: qemu-user), on emulated ones of both makers; for each setting the SHA-256 of the trained weights is
printed and written. qemu is some fifty times slower, so its seconds say nothing: the price is measured here, on a
larger model, each setting in turn. Without qemu only this processor is asked, which proves nothing about others.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from heirloom.arithmetic.processor import PINS, PORTABLE, facts_of_processor  # noqa: E402

PROGRAM = ROOT / "benchmarks" / "portable_programs" / "tiny_training.py"
QEMU = "qemu-x86_64"
HERE = "this processor"
SETTINGS = {"none": {}, "avx2": PINS["AVX2"], "avx2-mkl-cbwr": {**PORTABLE, "MKL_CBWR": "AVX2"}, "portable": PORTABLE}
LIMIT = 1800  # seconds an emulated training may take on a busy machine
PRICED = ("--width", "256", "--layers", "4", "--rows", "8", "--length", "128", "--steps", "10")


def main() -> None:
    parser = command_line(__doc__, "portable_bytes")
    parser.add_argument("--processors", default="Haswell,Skylake-Client,EPYC,EPYC-Milan", help="qemu's names, a,b")
    parser.add_argument("--settings", default=",".join(SETTINGS), help=f"among {', '.join(SETTINGS)}")
    parser.add_argument("--steps", type=int, default=5, help="optimizer steps of the tiny training")
    parser.add_argument("--no-price", action="store_true", help="compare bytes alone")
    args = parser.parse_args()
    settings = {name: SETTINGS[name] for name in args.settings.split(",")}
    processors = [HERE, *(name for name in args.processors.split(",") if name)]
    if not shutil.which(QEMU):
        print(f"{QEMU} is not installed, so no other processor is asked: apt-get install qemu-user")
        processors = [HERE]
    size = ("--steps", str(args.steps))
    result = {"machine": {**machine("torch"), "vendor": facts_of_processor()[0]}, "weights": {}, "agree": {}}
    for setting, variables in settings.items():
        found = result["weights"][setting] = {}
        for processor in processors:
            found[processor] = trained(processor, variables, *size)["weights"]
            print(f"{setting:14} {processor:16} {found[processor]}", flush=True)
        result["agree"][setting] = len(set(found.values())) == 1
    if not args.no_price:
        result["cpu_s"] = {name: trained(HERE, variables, *PRICED)["seconds"] for name, variables in settings.items()}
        print(json.dumps(result["cpu_s"]))
    write_result(args.output, result)


def trained(processor: str, variables: dict[str, str], *size: str) -> dict:
    """Return {"weights", "seconds"} of the training on a processor. Raises CalledProcessError when it fails there."""
    emulated = [QEMU, "-cpu", processor] if processor != HERE else []
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATEN_", "MKL_", "ONEDNN_"))}
    done = subprocess.run(
        [*emulated, str(Path(sys.executable).resolve()) if emulated else sys.executable, str(PROGRAM), *size],
        env={**kept, "OMP_NUM_THREADS": "1", **in_this_environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if emulated else None,  # qemu tells what it does not emulate, twice
        timeout=LIMIT,
        check=True,
    )
    return json.loads(done.stdout)


def in_this_environment() -> dict[str, str]:
    """Return what lets the interpreter that qemu starts find this environment's packages, past links to it."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))}


if __name__ == "__main__":
    main()
