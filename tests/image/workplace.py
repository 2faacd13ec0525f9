"""A place to build and run images in: a Debian base made by debootstrap, and buildah and podman with their own store.

Nothing of the machine's own containers is touched. Some settings are for machines without systemd and with fewer
privileges than usual; they do no harm elsewhere.
"""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from package_sources import package_sources

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("debootstrap", "buildah", "podman", "runc")
BASE = "localhost/heirloom-test-base:latest"
KEEP = "HEIRLOOM_IMAGE_WORKPLACE"
"""Environment variable with a folder to keep between sessions: the base and the layers are then made once."""

CONTAINERS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
cgroupns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


def reason_to_skip() -> str | None:
    """Return why images cannot be built here, None where they can."""
    if platform.system() != "Linux" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "building an image needs Linux and root (debootstrap)"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"building an image needs {', '.join(missing)}: apt-get install {' '.join(PROGRAMS)}"
    if mirror() is None:
        return "debootstrap needs a Debian mirror, and apt has none here"
    return None


def os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines() if Path("/etc/os-release").exists() else []
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def mirror() -> str | None:
    """Return the mirror from which apt gets this Debian's own packages."""
    if os_release().get("ID") != "debian":
        return None
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Identifier: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    for line in listing.splitlines():
        address, codename, component = line.split()
        if codename == os_release()["VERSION_CODENAME"] and component == "main":
            return address
    return None


class Workplace:
    """Made once a session. Its methods return what a command printed, or fail with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/store"\nrunroot = "{folder}/run"\n'
        )
        (folder / "containers.conf").write_text(CONTAINERS)
        self.engine_settings = {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "STORAGE_DRIVER": "overlay",
        }
        self.environment = {
            **os.environ,
            **self.engine_settings,
            "TMPDIR": str(folder / "tmp"),  # buildah keeps its cache mounts there
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str, cwd: Path | None = None, expect: int = 0, **variables: str) -> str:
        """Return stdout and stderr of a command; fail with them when it does not end with `expect`."""
        done = subprocess.run(
            command, cwd=cwd, env={**self.environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{command} ended with {done.returncode}:\n{done.stdout[-8000:]}"
        return done.stdout

    def obstacle(self) -> str | None:
        """Return why containers cannot be made on this machine (a CI's own may forbid it), None where they can be."""
        probe = "container=$(buildah from scratch) && buildah mount $container && buildah rm $container"
        done = subprocess.run(["bash", "-c", probe], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        return f"containers cannot be made here: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"

    # ---- building ----

    @property
    def base_archive(self) -> Path:
        """The root file system of the base image as a tar; where it is there already, debootstrap is not asked."""
        return self.folder / "base/base.tar"

    def make_base(self) -> None:
        """Make the base image: Debian as debootstrap makes it, in place of nvidia/cuda."""
        archive = self.base_archive
        if not archive.exists():
            tree = self.folder / "debian"
            codename = os_release()["VERSION_CODENAME"]
            self.run("debootstrap", "--variant=minbase", "--include=ca-certificates", codename, str(tree), mirror())
            self.run("bash", "-c", f"rm -rf '{tree}'/var/cache/apt/archives/*.deb '{tree}'/var/lib/apt/lists/*")
            archive.parent.mkdir(exist_ok=True)
            partial = archive.with_suffix(".partial")
            self.run("tar", "--numeric-owner", "-C", str(tree), "-cf", str(partial), ".")
            partial.rename(archive)
            shutil.rmtree(tree)
        (archive.parent / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.run("buildah", "build", "--quiet", "--layers", "--format", "docker", "--tag", BASE, str(archive.parent))

    def build_arguments(self) -> list[str]:
        """Return the options of build_push_image.sh that put the base and this machine's packages in place."""
        sources = package_sources()
        own_torch = version("torch").partition("+")[2]  # inside the same build as outside
        arguments = {"BASE_IMAGE": BASE, "BUILD_IMAGE": BASE, "TORCH_VARIANT": own_torch}
        if sources.beyond_the_index:
            arguments["TORCH_INDEX"] = ""
        volumes = sources.write(self.folder / "pip.conf")
        return [
            *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
            *("--", "--layers", "--isolation", "chroot", "--pull-never"),
            *(word for volume in volumes for word in ("--volume", volume)),
        ]

    def build_command(self, clone: Path, *options: str) -> list[str]:
        """Return the command of a clone's own script that builds its image."""
        script = clone / "docker/build_push_image.sh"
        return [str(script), *options, "--engine", "buildah", "--no-push", *self.build_arguments()]

    def build(self, clone: Path, *options: str) -> str:
        """Build the image of a clone and return the image's name."""
        log = self.folder / "build.log"
        with log.open("w") as file:
            done = subprocess.run(
                self.build_command(clone, *options),
                cwd=clone,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        printed = log.read_text(errors="replace")
        assert done.returncode == 0, printed[-8000:]
        return printed.strip().splitlines()[-1]

    # ---- running ----

    def podman(self, *words: str, expect: int = 0) -> str:
        return self.run("podman", *words, expect=expect)

    def close(self) -> None:
        """Unmount the store, and delete everything unless it is kept."""
        for command in (["podman", "rm", "--all", "--force"], ["buildah", "rm", "--all"]):
            subprocess.run(command, env=self.environment, capture_output=True, check=False)
        subprocess.run(["umount", str(self.folder / "store/overlay")], capture_output=True, check=False)
        if KEEP not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)
