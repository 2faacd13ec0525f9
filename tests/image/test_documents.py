"""docs/image.md, the Dockerfile and .dockerignore say the same."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "docker/Dockerfile").read_text()
DOCUMENT = (REPOSITORY / "docs/image.md").read_text()


def test_every_build_argument_is_documented_with_its_default() -> None:
    arguments = {
        name: value.strip('"').removeprefix("docker.io/")
        for name, value in re.findall(r"^ARG (\w+)=(.*)$", DOCKERFILE, re.MULTILINE)
    }
    documented = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \|", DOCUMENT, re.MULTILINE))
    assert documented.keys() == arguments.keys()
    for name, value in arguments.items():
        assert documented[name] == (f"`{value}`" if value else "none"), name
    assert re.findall(r"--build-arg (\w+)=", DOCUMENT)
    assert set(re.findall(r"--build-arg (\w+)=", DOCUMENT)) <= arguments.keys()


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"^ARG (?:BASE|BUILD)_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"docker\.io/nvidia/cuda:\d+\.\d+\.\d+-\S+|\S+@sha256:[0-9a-f]{64}", base)


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignore if line and not line.startswith("#")) == "*"
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    sources = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        sources.update(source.rstrip("/").replace("[s]", "s") for source in line.split()[:-1])
    for source in sources:
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
    for path in allowed:
        assert any(source == path or source.startswith(f"{path}/") for source in sources), path
        assert (REPOSITORY / path).exists() or path == "workflow/plugins"
