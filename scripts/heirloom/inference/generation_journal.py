"""Finished answers on disk while a job runs, so that a killed job goes on where it was."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from heirloom.content_hashes import file_hash
from heirloom.distributed import barrier, is_first_rank_of_host
from heirloom.inference.prompts import AnswerKey


class Journal:
    """A rank's finished answers: a first line that says whose they are, then one JSON line an answer."""

    def __init__(self, folder: Path, rank: int, ranks: int, job: dict[str, Any]) -> None:
        """Open the rank's file in `folder`; what it holds counts when it is of the same job on as many ranks."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"answers-{rank}-of-{ranks}.jsonl"
        lines = whole_lines(file)
        header = json.dumps(job, sort_keys=True)
        rows = lines[1:] if lines[:1] == [header] else []
        # written anew without a line that a kill cut short, and renamed so that a kill here loses nothing
        fresh = file.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
        fresh.replace(file)
        self.rows: dict[AnswerKey, dict[str, Any]] = {key_of(row): row for row in map(json.loads, rows)}
        self.file = file.open("a", encoding="utf-8")

    def close(self) -> None:
        """Write no more; what was added stays on disk."""
        self.file.close()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Keep answers, on disk before this returns."""
        self.file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.rows |= {key_of(row): row for row in rows}


def key_of(row: dict[str, Any]) -> AnswerKey:
    return row["row_id"], row["sample"]


def whole_lines(file: Path) -> list[str]:
    """Return the lines that were written to their end (with a newline) and are JSON, up to the first that is not."""
    if not file.is_file():
        return []
    whole = []
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            json.loads(line)
        except json.JSONDecodeError:
            break
        whole.append(line)
    return whole


def work_folder(output: Path) -> Path:
    """Return the folder for work in progress: the launcher's, or `.NAME.work` beside the output."""
    given = os.environ.get("HEIRLOOM_WORK_DIR")
    return Path(given) if given else output.with_name(f".{output.name}.work")


def delete_work(folder: Path) -> None:
    """Delete the work of a job that has ended, unless the launcher does that. Every rank calls this at the end."""
    barrier()  # the result is whole, and nobody writes here any more
    if "HEIRLOOM_WORK_DIR" not in os.environ and is_first_rank_of_host():
        shutil.rmtree(folder, ignore_errors=True)


def job_description(section: dict[str, Any], *inputs: Path) -> dict[str, Any]:
    """Say whose answers these are: the stage's identity where the launcher knows it, else options and input files.

    Files of folders count by size and time, a file that is an input itself, such as one of prompts, by its content.
    """
    identity = os.environ.get("HEIRLOOM_IDENTITY")
    if identity:
        return {"identity": identity}
    described = []
    for path in inputs:
        if path.is_file():
            described.append([str(path), file_hash(path)])
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            described.append([str(file), file.stat().st_size, file.stat().st_mtime_ns])
    return {"section": section, "inputs": described}
