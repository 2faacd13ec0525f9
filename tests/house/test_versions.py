"""One place says the version, and CHANGELOG.md says of each what a user has to make again."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from heirloom.config.parsing.reading import read_yaml
from heirloom.errors import HeirloomError
from pipeline.graph.stages import KINDS
from pipeline.upkeep.changelog import bytes_since, bytes_told, versions

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def numbers(version: str) -> tuple[int, ...]:
    """Return a semantic version as numbers to compare."""
    return tuple(map(int, SEMANTIC.fullmatch(version).groups()))


def test_the_version_stands_in_pyproject_alone_and_tags_follow_it():
    assert "version" not in read_yaml(REPOSITORY / "CITATION.cff")
    newest, *older = versions(CHANGELOG)
    assert older == sorted(older, key=numbers, reverse=True)
    assert newest == "Unreleased" or newest == VERSION
    assert all(numbers(version) < numbers(VERSION) for version in older)
    listing = ["git", "tag", "--list", "v*", "--merged", "HEAD"]
    tags = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    assert {tag.removeprefix("v") for tag in tags} <= {newest, *older}


def test_the_newest_version_says_for_each_kind_of_stage_whether_its_bytes_are_the_same():
    assert list(bytes_told(CHANGELOG)) == list(KINDS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- `train`: same bytes\n", ""),
        ("- `train`: same bytes\n", "- `train`: same bytes\n- `train`: other bytes: no dropout\n"),
        ("- `train`: same bytes", "- `train`: other bytes:"),
        ("- `train`: same bytes", "- `training`: same bytes"),
        ("### Bytes\n", "### Byte\n"),
    ],
)
def test_other_forms_are_refused(old: str, new: str):
    text = "# Changelog\n\n## [0.2.0] - 2026-11-30\n\n### Bytes\nWords.\n\n"
    text += "".join(f"- `{kind}`: same bytes\n" for kind in KINDS) + "\n### Added\n- more\n\n## [0.1.0] - 2026-11-29\n"
    why = text.replace("- `train`: same bytes", "- `train`: other bytes: no dropout")
    assert bytes_told(why)["train"] == "other bytes: no dropout"
    assert list(versions(text)) == ["0.2.0", "0.1.0"]
    with pytest.raises(HeirloomError, match=r"CHANGELOG.md, \[0.2.0\]: `### Bytes` has one line for each kind"):
        bytes_told(text.replace(old, new))


def test_an_upgrade_hears_of_its_kind_alone_and_of_new_versions_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every line with the word bytes was told, of whichever kind."""
    monkeypatch.chdir(tmp_path)
    sections = {
        version: f"## [{version}] - 2026-11-29\n\n### Bytes\n"
        + "".join(f"- `{kind}`: {told if kind == 'train' else 'same bytes'}\n" for kind in KINDS)
        for version, told in (("0.3.0", "other bytes: no dropout"), ("0.2.0", "same bytes"), ("0.1.0", "same bytes"))
    }
    git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "none"]):
        subprocess.run([*git, *words], check=True)
    Path("CHANGELOG.md").write_text(sections["0.1.0"])
    for words in (["add", "CHANGELOG.md"], ["commit", "-q", "-m", "0.1.0"]):
        subprocess.run([*git, *words], check=True)
    Path("CHANGELOG.md").write_text("\n".join(sections.values()))
    new = ["[0.3.0] `train`: other bytes: no dropout", "[0.2.0] `train`: same bytes"]
    assert bytes_since("HEAD", "train") == new
    assert bytes_since("HEAD~1", "train") == [*new, "[0.1.0] `train`: same bytes"]
    Path("CHANGELOG.md").unlink()
    assert bytes_since("HEAD", "train") == []
