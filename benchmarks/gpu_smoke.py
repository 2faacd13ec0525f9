"""Does the code work on a GPU at all? Cases in the order of their risk, for a machine that is lent for ten minutes.

    python benchmarks/gpu_smoke.py [--budget 560] [--only device,lm-head] [--wheels .whl]
    python benchmarks/gpu_smoke.py --list

Needs one NVIDIA GPU, no network and no data. The riskiest come in the first three minutes, the rest of what must be
right in the next three, the measurements of gpu_training.py last. Each case is a process of its own with a limit; one
that fails or hangs is recorded and stops no other, so a second run takes what failed: `--only`. At the end stands a
table, case | outcome | figure; benchmarks/results/gpu_smoke.json is written after every group, with hardware and
versions: where these are not the project's pins it counts for the code, not for the pins. What two GPUs are needed for
stands in it as unseen. Without a GPU a case of --only runs with tiny shapes on the CPU, and nothing is written.

A bare machine with Python 3.12, torch, transformers and their needs: `python benchmarks/smoke_programs/pack.py .whl`
gathers the other packages as wheels, here, where there is a package index; `--wheels .whl` installs them there into a
folder of their own.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "benchmarks" / "smoke_programs"
LARGE = ("evaluation", "lora-ours-sdpa", "lora-ours-flex-attention", "lora-upstream", "dpo-ours-sdpa", "dpo-upstream")
GROUPS = (
    ("device", "promised", "memory", "quantized", "lm-head", "packed-attention"),
    ("sft-lora-zero3", "sft-nf4-zero2", "trainer", "deterministic", "sft-nf4-zero3"),
    ("inference", "interruption-zero3", "interruption-qlora"),
    ("dpo", "orpo", "sft-packed", "sft-int8-zero2", "seq2seq", "dpo-nf4-zero2", "sft-flex", "sft-flash", "sft-liger"),
    ("checkpoints",),
    ("evaluation",),
    ("offload",),
    *((name,) for name in LARGE[1:]),
)
"""Names of cases. Those of a group share the GPU, as their models are tiny; the riskiest group comes first."""
OF_STAGES = ("deterministic", "interruption-zero3", "interruption-qlora", "inference", "offload")
"""Cases of smoke_programs/stages.py; the others that are no training or measurement are those of checks.py."""
LIMITS = {"interruption-zero3": 150, "interruption-qlora": 150, "inference": 150}
LIMIT = 110  # seconds a case that is not named there
LONGER_ON_CPU = 6
"""A machine without a GPU has all the time, and few cores."""
AT_ONCE = 5
UNSEEN = {
    "nccl between two GPUs": "one rank a GPU alone: NCCL refuses two ranks on one",
    "ZeRO-3 that shards, tensor parallel 2 and more": "a world of one shards nothing",
    "a killed or hanging rank among others, ddp_timeout": "needs a second rank",
    "hosts that join, EFA": "needs two machines",
    "QLoRA and merging at 8 billion parameters": "weights of that size are not written here",
}


def main() -> None:
    args = parsed_arguments()
    if args.list:
        print(*(" ".join(group) for group in GROUPS), sep="\n")
        return
    if args.wheels:
        install(args.wheels)  # before anything is imported that is in them
    from gpu_training import Clock, Place, gpu_facts

    only = [name for name in args.only.split(",") if name]
    if unknown := set(only) - {name for group in GROUPS for name in group}:
        sys.exit(f"gpu_smoke.py: there is no case {', '.join(sorted(unknown))}; --list names all")
    gpu = gpu_facts()
    if not gpu and not only:
        print("There is no GPU here, so nothing was run and nothing is claimed; --only runs a case on the CPU.")
        return
    clock = Clock(args.budget)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), gpu)
        smoke = Smoke(place, clock)
        if set(only) != {"promised"}:
            place.make_inputs()
        for group in GROUPS:
            names = [name for name in group if not only or name in only]
            with ThreadPoolExecutor(AT_ONCE if gpu else 1) as pool:
                for name, outcome in zip(names, pool.map(smoke.run, names), strict=True):
                    smoke.note(name, outcome)
            if gpu and names:
                write(args.output, gpu, smoke.outcomes)
    print(table(smoke.outcomes))
    sys.exit(any(outcome["outcome"] == "failed" for outcome in smoke.outcomes.values()))


def parsed_arguments():
    from measuring import command_line

    parser = command_line(__doc__, "gpu_smoke")
    parser.add_argument("--budget", type=float, default=560, help="seconds in all; what is left then is not run")
    parser.add_argument("--only", default="", help="names of cases, a,b; on a CPU with tiny shapes")
    parser.add_argument("--list", action="store_true", help="name the cases, a group a line, and run none")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install into a folder of their own first")
    return parser.parse_args()


def install(wheels: Path) -> None:
    """Install wheels, without looking for what they need, into a temporary folder that all programs search first."""
    target = tempfile.mkdtemp(prefix="smoke-site-")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", target, *map(str, sorted(wheels.glob("*.whl")))], check=True)
    found = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (target, found)))
    sys.path.insert(1, target)


class Smoke:
    """Runs cases in one place, and keeps what came of them."""

    def __init__(self, place, clock) -> None:
        self.place, self.clock = place, clock
        self.outcomes: dict[str, dict] = {}
        stages = {case.name: case for case in place.smoke_cases()}
        self.cases = stages | {case.name: case for case in measurements(place)}

    def run(self, name: str) -> dict:
        """Run a case to its end or its limit. It has failed too where an exception of ours stops it."""
        try:
            return self.place.run(self.cases.get(name) or self.own(name), self.clock)
        except Exception as error:  # noqa: BLE001 - a broken case must not end the others, on a machine that is lent
            return {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"}

    def own(self, name: str):
        """Return a case of checks.py or stages.py."""
        from gpu_training import Case

        program = "stages.py" if name in OF_STAGES else "checks.py"
        command = [sys.executable, str(PROGRAMS / program), name, f"{name}.json"]
        limit = LIMITS.get(name, LIMIT) * (1 if self.place.gpu else LONGER_ON_CPU)
        return Case(name, command, limit, result=f"{name}.json")

    def note(self, name: str, outcome: dict) -> None:
        self.outcomes[name] = outcome
        print(row(name, outcome), flush=True)
        for line in outcome.get("last_lines", []):
            print(f"    {line}")


def measurements(place) -> list:
    """Return the measured cases that this machine is for; with less memory than they need they are left out."""
    return place.measurements() if place.gpu else []


def row(name: str, outcome: dict) -> str:
    """Return a case's line of the table."""
    figure = outcome.get("figure") or outcome.get("reason") or ""
    if "tokens_per_s" in outcome:
        figure = f"{outcome['tokens_per_s']:,} tokens/s, {outcome.get('peak_memory_gib')} GiB"
    seconds = f"{outcome['wall_s']:.0f} s" if "wall_s" in outcome else ""
    return f"{name:28} | {outcome['outcome']:8} | {seconds:6} | {figure}"


def table(outcomes: dict[str, dict]) -> str:
    """Return all that was run, and what cannot be seen on one GPU."""
    lines = [f"{'case':28} | {'outcome':8} | {'took':6} | figure"]
    lines += [row(name, outcome) for name, outcome in outcomes.items()]
    lines += [f"{'':28} | {'unseen':8} | {'':6} | {name}: {why}" for name, why in UNSEEN.items()]
    passed = sum(outcome["outcome"] == "passed" for outcome in outcomes.values())
    return "\n".join([*lines, f"{passed} of {len(outcomes)} cases passed"])


def pinned() -> dict[str, str]:
    """Return the project's own versions, package → version."""
    text = (ROOT / "envs" / "training.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


def write(file: Path, gpu: dict, outcomes: dict[str, dict]) -> None:
    """Write the result so far. `counts_for` says whether the versions were the project's pins."""
    from measuring import machine, write_result

    pins, found = pinned(), {name: version for name, version in gpu["versions"].items() if version}
    others = {
        name: f"{version}, pinned {pins[name]}"
        for name, version in found.items()
        if name in pins and version.partition("+")[0] != pins[name]
    }
    counts = "the code and the pins" if not others else "the code, not the pins"
    result = {"machine": {**machine(), **gpu}, "counts_for": counts, "not_the_pins": others}
    write_result(file, {**result, "cases": outcomes, "unseen": UNSEEN})


if __name__ == "__main__":
    main()
