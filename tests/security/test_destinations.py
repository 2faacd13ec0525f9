"""Nothing is deleted that this project did not make, wherever an artifact is put."""

import argparse
import json
import re
from pathlib import Path

import pytest

from heirloom.artifacts import new_artifact
from heirloom.errors import HeirloomError
from heirloom.s3 import LISTING, check_destination, upload_folder
from heirloom.stage_arguments import output_path

REPOSITORY = Path(__file__).resolve().parents[2]
WRITTEN = re.compile(r'"--(output|metrics|statistics|loss)", type=(\w+)')


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEIRLOOM_IDENTITY", raising=False)


def make(target: Path, **files: str) -> None:
    with new_artifact(target) as partial:
        partial.mkdir()
        for name, text in files.items():
            (partial / name).write_text(text)


def test_a_folder_of_the_users_is_refused_before_any_work_and_stays(tmp_path: Path) -> None:
    """The attack: `create_dataset.py ~/mydata …` deleted the thesis there and said nothing."""
    thesis = tmp_path / "mydata/thesis/chapter1.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years")
    with pytest.raises(HeirloomError, match=r"mydata exists, and is not .* choose another place, or remove it"):
        make(tmp_path / "mydata", weights="1")
    assert thesis.read_text() == "years"
    assert [path.name for path in tmp_path.iterdir()] == ["mydata"]


def test_a_file_of_the_users_stays(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(HeirloomError, match="metrics.json exists"), new_artifact(tmp_path / "metrics.json") as partial:
        partial.write_text("{}")
    assert (tmp_path / "metrics.json").read_text() == "mine"


def test_what_was_made_here_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()  # an empty folder is nobody's loss
    for text in ("1", "2"):
        make(tmp_path / "model", weights=text)
    assert {path.name: path.read_text() for path in (tmp_path / "model").iterdir()} == {"weights": "2"}


@pytest.mark.parametrize("change", ["added", "edited", "deleted", "linked", "replaced"])
def test_what_was_changed_since_is_the_users(tmp_path: Path, change: str) -> None:
    target = tmp_path / "model"
    make(target, weights="1", config="{}")
    if change == "added":
        (target / "notes").mkdir()
        (target / "notes/mine.txt").write_text("mine")
    elif change == "edited":
        (target / "weights").write_text("9")
    elif change == "deleted":
        (target / "weights").unlink()
    elif change == "linked":
        target.rename(tmp_path / "elsewhere")
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.rename(tmp_path / "elsewhere")
        target.write_text("a file")
    with pytest.raises(HeirloomError, match="model exists"):
        make(target, weights="2")
    assert "2" not in [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]


def test_what_appears_while_a_program_works_stays(tmp_path: Path) -> None:
    with pytest.raises(HeirloomError, match="model exists"), new_artifact(tmp_path / "model") as partial:
        partial.mkdir()
        (tmp_path / "model").mkdir()
        (tmp_path / "model/mine").touch()
    assert (tmp_path / "model/mine").exists()


def test_a_stage_of_the_workflow_replaces_its_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIRLOOM_IDENTITY", "a" * 64)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").touch()
    make(tmp_path / "model", weights="1")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_every_script_looks_before_it_works() -> None:
    """Each flag that names what is written goes through `destination` when the command line is read."""
    files = [*(REPOSITORY / "scripts").glob("*.py"), *(REPOSITORY / "scripts/heirloom").rglob("*.py")]
    found = [match.groups() for file in files for match in WRITTEN.finditer(file.read_text())]
    assert len(found) >= 8
    assert {how for _, how in found} == {output_path.__name__}
    with pytest.raises(argparse.ArgumentTypeError, match="exists, and is not"):
        output_path(str(REPOSITORY / "scripts"))
    for name in ("inference.py", "heirloom/training/inputs/training_command.py", "heirloom/data/datasets_by_hand.py"):
        assert "destination(" in (REPOSITORY / "scripts" / name).read_text(), name


def keys(s3, prefix: str) -> set[str]:
    return {item["Key"] for item in s3.list_objects_v2(Bucket="team", Prefix=prefix).get("Contents", [])}


def folder_with(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    return place


MINE = ("train/img-000.png", "train/precious.parquet", "test/labels.csv", "dataset.json", "preview.html")


@pytest.mark.parametrize("name", MINE)
def test_objects_that_no_upload_left_stay(s3, tmp_path: Path, name: str) -> None:
    """The attack: whatever lay below `train/` or `test/` was deleted."""
    prefix = f"data-{name.replace('/', '-')}"
    s3.put_object(Bucket="team", Key=f"{prefix}/{name}", Body=b"mine")
    folder = folder_with(tmp_path, "train/data-0.arrow", "dataset.json")
    with pytest.raises(HeirloomError, match="holds other objects"):
        check_destination(f"s3://team/{prefix}")
    with pytest.raises(HeirloomError, match="holds other objects"):
        upload_folder(folder, f"s3://team/{prefix}", "dataset.json")
    assert keys(s3, f"{prefix}/") == {f"{prefix}/{name}"}


def test_an_object_added_to_an_upload_stays_and_so_does_the_upload(s3, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "train/data-0.arrow", "train/data-1.arrow", "dataset.json")
    url = "s3://team/added"
    upload_folder(folder, url, "dataset.json")
    (folder / "train/data-1.arrow").unlink()
    upload_folder(folder, url, "dataset.json")
    assert keys(s3, "added/") == {f"added/{name}" for name in ("train/data-0.arrow", "dataset.json", LISTING)}
    s3.put_object(Bucket="team", Key="added/train/mine.csv", Body=b"mine")
    before = keys(s3, "added/")
    with pytest.raises(HeirloomError, match="train/mine.csv"):
        upload_folder(folder, url, "dataset.json")
    s3.delete_object(Bucket="team", Key="added/train/mine.csv")
    s3.put_object(Bucket="team", Key="added/train/data-0.arrow", Body=b"replaced by somebody")
    with pytest.raises(HeirloomError, match="train/data-0.arrow"):
        upload_folder(folder, url, "dataset.json")
    assert keys(s3, "added/") == before - {"added/train/mine.csv"}


class Interrupted(Exception):  # noqa: N818 - it stands for a killed process
    pass


@pytest.mark.parametrize("at", range(7))
def test_an_upload_that_was_interrupted_anywhere_is_replaced(
    s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    url = f"s3://team/interrupted{at}"
    upload_folder(folder_with(tmp_path / "one", "train/a", "train/b", "dataset.json"), url, "dataset.json")
    new = folder_with(tmp_path / "two", "train/a", "train/longer-name", "dataset.json")
    (new / "train/a").write_text("of another size")
    with monkeypatch.context() as patch:
        interrupt_at(at, patch)
        with pytest.raises(Interrupted):
            upload_folder(new, url, "dataset.json")
    forget_connections()
    upload_folder(new, url, "dataset.json")
    listed = json.loads(s3.get_object(Bucket="team", Key=f"interrupted{at}/{LISTING}")["Body"].read())
    assert listed == {"dataset.json": [12], "train/a": [15], "train/longer-name": [17]}
    assert keys(s3, f"interrupted{at}/") == {f"interrupted{at}/{name}" for name in (*listed, LISTING)}


def forget_connections() -> None:
    """Let the next upload make its client anew, which takes the methods as they are then."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def interrupt_at(at: int, patch: pytest.MonkeyPatch) -> None:
    """Let the step with this number, of those that change something on S3, not happen."""
    import s3fs

    steps = iter(range(100))

    def interrupted(real):
        async def step(*arguments, **options) -> object:
            if next(steps) == at:
                raise Interrupted
            return await real(*arguments, **options)

        return step

    forget_connections()
    for name in ("_rm_file", "_put_file", "_pipe_file"):
        patch.setattr(s3fs.S3FileSystem, name, interrupted(getattr(s3fs.S3FileSystem, name)))
