"""The doctor tells who else can reach the ports of a training: torch's ranks ask nobody who they are."""

import os
from pathlib import Path

import pytest

from heirloom.doctor.finding import Level
from heirloom.doctor.neighbours import check_neighbours, check_slurm_job

as_root = pytest.mark.skipif(os.getuid() != 0, reason="processes of other users are played by folders that root makes")


def processes(folder: Path, *users: int) -> Path:
    """Return a folder like /proc, with a process of each user."""
    for number, user in enumerate(users, 1):
        (folder / str(number)).mkdir()
        os.chown(folder / str(number), user, -1)
    (folder / "self").mkdir()
    return folder


@as_root
def test_other_peoples_processes_are_told_and_the_systems_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    (finding,) = check_neighbours(processes(tmp_path, os.getuid(), 0, 33, 65534, 1001, 1001, 2001))
    assert finding.level is Level.WARNING and finding.found == "processes of 2 other users (uid 1001, 2001)"
    assert "SECURITY.md" in finding.meaning and "--exclusive" in finding.remedy


def test_a_machine_of_ones_own_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    (tmp_path / "1").mkdir()
    (finding,) = check_neighbours(tmp_path)
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("told", "level"),
    [
        ("JobId=7 OverSubscribe=NO Contiguous=0", Level.OK),
        ("JobId=7 OverSubscribe=OK Contiguous=0", Level.WARNING),
        ("JobId=7 OverSubscribe=USER", Level.WARNING),
        ("slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_a_slurm_job_that_shares_its_nodes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, level):
    command = tmp_path / "scontrol"
    command.write_text(f'#!/bin/sh\n[ "$*" = "--oneliner show job 7" ] && echo "{told}"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [finding.level for finding in check_slurm_job("7")] == ([level] if level else [])
    assert check_slurm_job(None) == []
