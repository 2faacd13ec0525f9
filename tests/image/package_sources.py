"""Where this machine's pip gets packages, so that a build in a container gets them from there too."""

import ast
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout")
CERTIFICATES = "/run/host-certificates.pem"
"""Its place in the build: mounted over the system's own file, installing ca-certificates would fail."""


@dataclass
class PackageSources:
    """A pip.conf for the build, and the `HOST:CONTAINER:ro` volumes that it needs."""

    settings: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)

    @property
    def beyond_the_index(self) -> bool:
        """Tell whether packages come from elsewhere than one index."""
        return "find-links" in self.settings or "extra-index-url" in self.settings

    def write(self, path: Path) -> list[str]:
        """Write the pip.conf and return all volumes, that of the file included."""
        lines = [f"{key} = {value}" for key, value in self.settings.items()]
        path.write_text("\n".join(["[global]", "disable-pip-version-check = true", *lines]) + "\n")
        return [*self.volumes, f"{path}:/etc/pip.conf:ro"]


def package_sources() -> PackageSources:
    """Return what `pip config list` says of this Python: files first, then the environment, which comes last."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    found = PackageSources()
    for line in listing.stdout.splitlines():
        name, _, quoted = line.partition("=")
        key, value = name.rpartition(".")[2], ast.literal_eval(quoted)
        if key == "cert":
            found.settings["cert"] = CERTIFICATES
            found.volumes = [volume for volume in found.volumes if CERTIFICATES not in volume]
            found.volumes.append(f"{Path(value).resolve()}:{CERTIFICATES}:ro")
        elif key in SOURCES:
            found.settings[key] = value.replace("\n", " ")
    words = " ".join(found.settings.values()).split()
    folders = {Path(word.removeprefix("file://")) for word in words if word.startswith(("/", "file://"))}
    folders = {path.parent if path.name == "simple" else path for path in folders}  # an index points beside itself
    found.volumes += [f"{path}:{path}:ro" for path in sorted(folders) if path.is_dir()]
    return found
