"""What bytecode made at installation saves: CPU seconds of programs as they start, with it and without.

    python benchmarks/library_bytecode.py [--executions 3] [--only "dvc status,…"] [--output FILE]

Both have PYTHONDONTWRITEBYTECODE, as every process in the image. Without: Python looks for bytecode in a folder that
has torch's alone, since pip, which installs torch, always makes it.
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from measuring import command_line, cost_of, machine, median, write_result

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
IMPORTS = "import sys; sys.path.insert(0, 'scripts'); import heirloom.rank, sft_train"
PROGRAMS = {
    "snakemake --dry-run": [str(BIN / "snakemake"), "--dry-run", "--quiet"],
    "dvc status": [str(BIN / "dvc"), "status"],
    "imports of sft_train.py": [sys.executable, "-c", IMPORTS],
}


def main() -> None:
    parser = command_line(__doc__, "library_bytecode")
    parser.add_argument("--executions", type=int, default=3, help="of each program and kind, in turn")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="these programs, a,b")
    args = parser.parse_args()

    result = {"machine": machine("torch", "transformers", "trl", "snakemake", "dvc"), "start": {}}
    with tempfile.TemporaryDirectory() as folder:
        link_bytecode_of_torch(Path(folder))
        installed = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        installed.pop("PYTHONPYCACHEPREFIX", None)
        kinds = {"made at installation": installed, "none": {**installed, "PYTHONPYCACHEPREFIX": folder}}
        for name in args.only.split(","):
            costs = {kind: [] for kind in kinds}
            for _ in range(args.executions):
                for kind, environment in kinds.items():
                    costs[kind].append(cost_of(PROGRAMS[name], ROOT, environment))
            rows = result["start"][name] = {kind: median(costs[kind]) for kind in kinds}
            print(f"{name:24} CPU", *(f"{row['cpu_s']:6.2f} s ({kind})" for kind, row in rows.items()), flush=True)
    write_result(args.output, result)


def link_bytecode_of_torch(prefix: Path) -> None:
    """Lay torch's bytecode below `prefix`, at the places where PYTHONPYCACHEPREFIX makes Python look for it."""
    torch = Path(sysconfig.get_path("purelib"), "torch")
    for cache in torch.rglob("__pycache__"):
        folder = prefix / cache.parent.relative_to("/")
        folder.mkdir(parents=True, exist_ok=True)
        for file in cache.iterdir():
            (folder / file.name).symlink_to(file)


if __name__ == "__main__":
    main()
