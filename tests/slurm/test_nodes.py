"""The launcher in a Slurm job: which hosts it finds, what it starts on them, and how programs end there.

The jobs are real; their programs are small, and end with torchrun as ranks do (heirloom.rank).
"""

import os
import signal
import subprocess
import sys

import pytest
from training_workplace import LAUNCH, Workplace, environment
from watched_processes import wait_for

PROGRAM = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.append({str(LAUNCH.parent)!r})
import heirloom.rank
work = Path(os.environ["HEIRLOOM_WORK_DIR"])
rank, world, node = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "SLURMD_NODENAME"))
"""


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def program(place: Workplace, body: str) -> str:
    (place.folder / "program.py").write_text(PROGRAM + body)
    return "program.py"


class Job:
    """A batch job of so many nodes that runs the launcher as a stage does."""

    def __init__(self, cluster, place: Workplace, *command: str, nodes: int = 2, options: tuple[str, ...] = ()) -> None:
        self.cluster, self.place = cluster, place
        self.output = place.folder / "job.out"
        script = place.folder / "job.sh"
        launch = " ".join([sys.executable, str(LAUNCH), *command])
        script.write_text(f"#!/bin/sh\n{launch}\ncode=$?\necho launcher ended with $code\nexit $code\n")
        asked = ("--nodes", str(nodes), "--ntasks", str(nodes), "--cpus-per-task", "1", "--mem", "100", *options)
        variables = environment(**cluster.environment, PATH=f"{cluster.bin}:{os.environ['PATH']}")
        submitted = subprocess.run(
            ["sbatch", "--parsable", "--time", "5", "--requeue", "--output", self.output, *asked, script],
            cwd=place.folder,
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        self.number = submitted.stdout.strip()

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def state(self) -> str:
        return self.cluster.jobs()[self.number]

    def end(self, seconds: float = 200) -> str:
        """Wait until the job has ended and return what it printed."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_for(lambda: self.state() in ended, seconds=seconds, every=0.2)
        return self.said()


def test_each_node_gets_a_rank_and_a_single_process_stays_on_the_head(cluster, place):
    name = program(place, "sys.stdout.write(f'rank {rank} of {world} on {node}\\n')")
    said = Job(cluster, place, "torchrun", name).end()
    assert {"rank 0 of 2 on n1", "rank 1 of 2 on n2", "launcher ended with 0"} <= set(said.splitlines()), said
    assert (place.folder / "logs" / "program.log").read_text().count("rank ") == 2
    said = Job(cluster, place, "python", name).end()
    *machine, answer, end = said.splitlines()
    assert (answer, end) == ("rank None of None on n1", "launcher ended with 0")
    assert machine and all(line.startswith("doctor: ") for line in machine)


def test_a_job_on_one_node_is_a_machine_like_any_other(cluster, place):
    said = Job(
        cluster, place, "torchrun", program(place, "sys.stdout.write(f'rank {rank} of {world} on {node}\\n')"), nodes=1
    ).end()
    assert sorted(line for line in said.splitlines() if line.startswith("rank")) == [
        "rank 0 of 2 on n1",
        "rank 1 of 2 on n1",
    ]


def test_ranks_start_from_within_a_task_too(cluster, place):
    """Where a plain srun would wait for the task around it until the job's time is over."""
    name = program(place, "sys.stdout.write(f'rank {rank} of {world} on {node}\\n')")
    (place.folder / "task.sh").write_text(f"#!/bin/sh\nexec {sys.executable} {LAUNCH} torchrun {name}\n")
    script = f"torchrun {name}; {cluster.bin}/srun --nodes 1 --ntasks 1 sh task.sh; true"
    said = Job(cluster, place, script).end()
    assert said.count("rank 0 of 2 on n1") == 2 and said.count("rank 1 of 2 on n2") == 2


def test_nodes_that_cannot_share_the_cpu_ranks_are_refused(cluster, place):
    """Three nodes are more than there are, so the job's own list of nodes is given by hand."""
    done = place.launch(
        *("torchrun", program(place, "print('ran')")),
        check=False,
        SLURM_JOB_ID="1",
        SLURM_JOB_NODELIST="n[1-3]",
        PATH=f"{cluster.bin}:{os.environ['PATH']}",
    )
    assert done.returncode == 1
    assert done.stdout == (
        "launch.py: Slurm job 1 has 3 nodes and no GPU that this process may use: 2 CPU ranks in total cannot be "
        "shared evenly; set resources.nodes to 1 or 2, or resources.gpus_per_node\n"
    )


def test_the_first_error_of_a_rank_ends_the_other_node_and_reaches_the_user(cluster, place):
    body = "if rank == '1': raise RuntimeError('the real cause')\ntime.sleep(250)"
    job = Job(cluster, place, "torchrun", program(place, body), "--output", "out/x")
    said = job.end(seconds=100)
    assert "program-x failed: RuntimeError: the real cause\nlauncher ended with " in said
    assert said.startswith("doctor: machine: ")
    assert (place.folder / "logs" / "program-x.log").read_text().startswith("doctor: machine: ")
    assert job.state() == "FAILED"


STOPS_GENTLY = """
def stop(number, _):
    (work / f"stopped{rank}").write_text(signal.Signals(number).name)
    time.sleep(1)
    (work / f"kept{rank}").touch()
    sys.exit(128 + number)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
(work / f"begun{rank}").touch()
time.sleep(250)
"""


@pytest.mark.parametrize(
    ("way", "state"), [("the launcher", "FAILED"), ("the step", "FAILED"), ("the job", "CANCELLED")]
)
def test_a_signal_reaches_all_ranks_and_each_has_time_to_end(cluster, place, way, state):
    """To the launcher alone, as when DVC is killed; to the ranks, as before the time is over; to all, by scancel."""
    job = Job(cluster, place, "torchrun", program(place, STOPS_GENTLY), "--output", "x")
    work = place.folder / ".x.work"
    wait_for(lambda: len(list(work.glob("begun[01]"))) == 2)
    if way == "the launcher":
        os.kill(int((work / "launcher.pid").read_text()), signal.SIGTERM)
    elif way == "the step":
        cluster.run("scancel", "--signal", "TERM", job.number)
    else:
        cluster.run("scancel", job.number)
    said = job.end(seconds=100)
    assert job.state() == state
    wait_for(lambda: sorted(file.name for file in work.glob("kept*")) == ["kept0", "kept1"], seconds=5)
    if way == "the launcher":
        assert f"launcher ended with {128 + signal.SIGTERM}\n" in said


def test_a_node_that_is_lost_lets_slurm_start_the_job_again(cluster, place):
    """Once Slurm misses the node. The second time the program ends well."""
    body = """
if (work / "again").exists():
    sys.exit(0)
(work / f"begun{rank}").touch()
import torch.distributed
torch.distributed.init_process_group("gloo")
torch.distributed.barrier()
if rank == "0":
    (work / "together").touch()
torch.distributed.barrier() if rank == "0" else time.sleep(250)
"""
    job = Job(cluster, place, "torchrun", program(place, body), "--output", "x")
    work = place.folder / ".x.work"
    wait_for((work / "together").exists)
    (work / "again").touch()
    cluster.lose("n2")
    said = job.end()
    assert job.state() == "COMPLETED", said
    assert said.rstrip().endswith("launcher ended with 0")
    assert cluster.run("squeue", "--noheader", "--states", "all", "--jobs", job.number, "--format", "%N") == "n[1,3]\n"
    cluster.start_node("n2")
