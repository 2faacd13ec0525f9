"""How long does the image take to build, how large is it, and what of it changes with what?

    python benchmarks/image_build.py [--base TAR] [--first-step] [--output FILE]
                                              (Debian, root; docs/image.md says what it needs)

Makes a Debian base with debootstrap and builds docker/Dockerfile on it with buildah and CPU wheels: once from an empty
store, once more with nothing changed, and once with a changed doctor, which is the last layer. Then the start of
a container and of the doctor in it. Packages come from where this machine's pip gets them, so download times
are this machine's. --base takes the tar of a root file system in debootstrap's place, and --first-step ends the build
as soon as the builder begins with its first step: how long is it on the way until then?
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import command_line, machine, write_result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/image"))

from workplace import REPOSITORY, Workplace, reason_to_skip

STARTS = 3
FIRST_STEP = re.compile(r"\bSTEP 1/\d+:")


def main() -> None:
    parser = command_line(__doc__, "image_build")
    parser.add_argument("--base", type=Path, help="tar of a root file system, in place of debootstrap's")
    parser.add_argument("--first-step", action="store_true", help="end when the builder begins with its first step")
    options = parser.parse_args()
    reason = reason_to_skip()
    if reason:
        sys.exit(f"image_build.py: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder) / "workplace")
        if options.base:
            place.base_archive.parent.mkdir()
            shutil.copyfile(options.base, place.base_archive)
        try:
            clone = Path(folder) / "clone"
            subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
            result = {"machine": machine() | {"engine": place.run("buildah", "--version").strip()}}
            base = {"debootstrap and import of the base": timed(place.make_base)}
            if options.first_step:
                result["seconds"] = base | {"start to the first step": timed(lambda: begin(place, clone))}
            else:
                result["seconds"] = base | measure(place, clone)
                result["sizes"] = sizes(place, place.build(clone, "--target", "user"))
            write_result(options.output, result)
        finally:
            place.close()


def begin(place: Workplace, clone: Path) -> None:
    """Start a build and end it at its first step. Raises RuntimeError with what it said when it comes to none."""
    said = []
    builder = subprocess.Popen(
        place.build_command(clone, "--target", "user"),
        cwd=clone, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        for line in builder.stdout:
            said.append(line)
            if FIRST_STEP.search(line):
                return
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(builder.pid, signal.SIGKILL)
        builder.communicate()
    raise RuntimeError("the build ended before its first step:\n" + "".join(said))


def measure(place: Workplace, clone: Path) -> dict[str, float]:
    """Return times in seconds."""
    seconds = {}
    seconds["build from an empty store"] = timed(lambda: place.build(clone, "--target", "user"))
    seconds["build with nothing changed"] = timed(lambda: place.build(clone, "--target", "user"))
    doctor = clone / "scripts/doctor.py"
    doctor.write_text(doctor.read_text() + "# changed\n")
    seconds["build with a changed doctor"] = timed(lambda: place.build(clone, "--target", "user"))
    image = place.build(clone, "--target", "user")
    run = ("run", "--rm", "--network", "none", image)
    for name, command in {"start of a container": ("true",), "doctor": ("doctor", "--offline")}.items():
        seconds[name] = min(timed(lambda command=command: place.podman(*run, *command)) for _ in range(STARTS))
    return seconds


def timed(action) -> float:
    started = time.perf_counter()
    action()
    return round(time.perf_counter() - started, 1)


def sizes(place: Workplace, image: str) -> dict:
    """Return sizes in MB (10^6 bytes): of the image, of each layer that holds something, of all layers compressed."""
    rows = json.loads(place.podman("history", "--format", "json", "--no-trunc", image))
    layers = [
        {"mb": round(row["size"] / 1e6, 1), "made_by": what_made(row["CreatedBy"])}
        for row in reversed(rows)
        if row["size"] > 10_000
    ]
    archive = place.folder / "image.tar"
    place.podman("save", "--quiet", "--output", str(archive), image)
    subprocess.run(["gzip", "-1", str(archive)], check=True)
    compressed = archive.with_suffix(".tar.gz").stat().st_size
    archive.with_suffix(".tar.gz").unlink()
    total = json.loads(place.podman("image", "inspect", image))[0]["Size"]
    return {"image_mb": round(total / 1e6), "compressed_mb (gzip -1)": round(compressed / 1e6), "layers": layers}


def what_made(command: str) -> str:
    """Return the part of a layer's command that a reader knows from the Dockerfile."""
    instruction = re.sub(r"^(\|\d .*?)?/bin/sh -c (#\(nop\) )?|--mount=\S+", "", command)
    return " ".join(instruction.split())[:100]


if __name__ == "__main__":
    main()
