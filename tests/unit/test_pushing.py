"""A push sends its files side by side: DVC alone would send the first one by itself, and the others after it."""

import pytest
from dvc_objects.fs import MemoryFileSystem, generic, localfs

from pipeline.execution.transfer import failures


class Cloud:
    """Pushes as DVC does, by its own copying, into memory."""

    def __init__(self, folder, names):
        self.files = [str(folder / name) for name in names]
        self.there = MemoryFileSystem(global_store=False)

    def push(self, objects):
        generic.transfer(localfs, self.files, self.there, [f"/{name}" for name in objects])
        return type("Pushed", (), {"failed": {name for name in objects if not self.there.exists(f"/{name}")}})


@pytest.fixture
def together(monkeypatch):
    """How many files DVC copies at a time."""
    found, copy = [], generic.copy

    def counting(from_fs, from_path, to_fs, to_path, **options):
        found.append(len(from_path) if isinstance(from_path, list) else 1)
        copy(from_fs, from_path, to_fs, to_path, **options)

    monkeypatch.setattr(generic, "copy", counting)
    return found


def test_all_files_are_sent_side_by_side(tmp_path, together):
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).write_text(name)
    original = generic.transfer
    Cloud(tmp_path, names).push(names)
    assert together == [1, 2]  # as DVC does it; when this changes, `side_by_side` can go
    together.clear()
    cloud = Cloud(tmp_path, names)
    assert failures(cloud, [names]) == set()
    assert together == [3] and generic.transfer is original
    assert cloud.there.cat_file("/b") == b"b"
