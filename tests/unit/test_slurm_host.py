"""Which hosts the launcher finds, without Slurm: its commands are stand-ins that print what real ones do.

What real ones do with the launcher's command is tests/slurm/.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from heirloom.errors import HeirloomError
from heirloom.launcher.command import Program
from heirloom.launcher.hosts.detection import LocalHost, this_host
from heirloom.launcher.hosts.slurm import SlurmHost
from heirloom.launcher.ranks import Ranks

SCONTROL = """
case "$*" in
"show hostnames n[1-2]") printf 'n1\\nn2\\n' ;;
"show hostnames n1") echo n1 ;;
"--oneliner show node n1") echo "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=n1" ;;
*) echo "invalid entity: $*" >&2; exit 1 ;;
esac
"""
PROGRAM = Program("torchrun", Path("scripts/sft_train.py"), ("--output", "x"))


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Make a function that puts a command with a body on PATH, which begins with none of Slurm's."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SRUN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    def add(name: str, body: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return add


def test_outside_a_job_and_on_one_node_a_host_is_this_machine(commands, monkeypatch):
    assert this_host() == LocalHost(gpus=0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    commands("squeue", "echo n1")
    commands("scontrol", SCONTROL)
    assert this_host() == LocalHost(gpus=0)


def test_the_nodes_are_those_of_the_job_not_of_the_task_around(commands, monkeypatch):
    """The plugin hides SLURM_JOB_NODELIST, so Slurm is asked; where it is there, it is asked less."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    commands("squeue", '[ "$*" = "--noheader --jobs 7 --format %N" ] && echo "n[1-2]"')
    commands("scontrol", SCONTROL)
    assert this_host() == SlurmHost("7", ("n1", "n2"), gpus=0)
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    commands("squeue", "exit 1")
    assert this_host() == SlurmHost("7", ("n1", "n2"), gpus=0)


def test_a_slurm_that_does_not_answer_is_told(commands, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HeirloomError, match="SLURM_JOB_ID is set, but there is no `squeue` on PATH"):
        this_host()


def test_what_slurm_complains_of_is_told(commands, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    commands("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    with pytest.raises(HeirloomError) as told:
        this_host()
    assert str(told.value) == (
        "`squeue --noheader --jobs 7 --format %N` failed: slurm_load_jobs error: Invalid job id specified"
    )
    commands("squeue", "")
    with pytest.raises(HeirloomError, match="failed: it printed nothing"):
        this_host()
    commands("scontrol", "echo NodeName=n1")
    with pytest.raises(HeirloomError, match="`scontrol show node n1` names no NodeAddr for ranks to meet at"):
        SlurmHost("7", ("n1", "n2"), gpus=0).command(PROGRAM, Ranks(2, 1, "cpu"))


@pytest.mark.parametrize(
    ("nodes", "gpus", "expected"),
    [(2, 8, Ranks(2, 8, "gpu")), (3, 4, Ranks(3, 4, "gpu")), (2, 0, Ranks(2, 1, "cpu"))],
)
def test_ranks_are_one_a_gpu_of_every_node_or_two_cpu_ranks_in_total(nodes, gpus, expected):
    host = SlurmHost("7", tuple(f"n{number}" for number in range(nodes)), gpus)
    assert host.ranks("torchrun") == expected
    assert host.ranks("python") == Ranks(1, 1, expected.device)


def test_nodes_that_cannot_share_two_cpu_ranks_are_refused():
    with pytest.raises(HeirloomError, match="Slurm job 7 has 3 nodes and no GPU .* set resources.nodes to 1 or 2"):
        SlurmHost("7", ("a", "b", "c"), gpus=0).ranks("torchrun")


def test_ranks_meet_at_the_head_and_srun_knows_nothing_of_a_task_around_it(commands, monkeypatch):
    commands("scontrol", SCONTROL)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    host = SlurmHost("7", ("n1", "n2"), gpus=8)
    command = host.command(PROGRAM, host.ranks("torchrun"))
    assert command[:3] == ["env", "-u", "SLURM_NTASKS"] and "SLURM_CONF" not in command
    text = " ".join(command)
    assert "srun --jobid 7 --nodes 2 --ntasks 2 --ntasks-per-node 1 --overlap" in text
    assert "--nnodes 2 --nproc-per-node 8 --rdzv-backend static --master-addr 10.0.0.7 --master-port" in text
    assert command[-3:] == ["scripts/sft_train.py", "--output", "x"]
    alone = Program("python", PROGRAM.script, PROGRAM.arguments)
    assert host.command(alone, host.ranks("python")) == [sys.executable, "scripts/sft_train.py", "--output", "x"]


def test_only_an_interrupt_is_passed_on_by_srun():
    host = SlurmHost("7", ("n1", "n2"), gpus=0)
    assert {host.signal_to_forward(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)} == {
        signal.SIGINT
    }
    assert LocalHost(gpus=0).signal_to_forward(signal.SIGTERM) == signal.SIGTERM
