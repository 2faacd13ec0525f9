"""The logger plugin's parts, without Snakemake running: progress out of logs, causes of failures, times."""

import logging
import os
import re
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "workflow/plugins/snakemake-logger-plugin-heirloom/src"))

from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase
from snakemake_logger_plugin_heirloom import LogHandler, LogHandlerSettings
from snakemake_logger_plugin_heirloom.board import EMPTY, FULL, MARGIN, board
from snakemake_logger_plugin_heirloom.failure import cause
from snakemake_logger_plugin_heirloom.job import Job
from snakemake_logger_plugin_heirloom.progress import LogFollower, Progress, progress_of
from snakemake_logger_plugin_heirloom.speech import clock, duration

from heirloom.data.row_progress import RowProgress
from heirloom.inference import generation_progress


class TestTheInterface(TestLogHandlerBase):
    """What Snakemake's own tests ask of every logger plugin."""

    __test__ = True

    def get_log_handler_cls(self) -> type:
        return LogHandler

    def get_log_handler_settings(self) -> LogHandlerSettings:
        return LogHandlerSettings()


# ---- progress ----


def test_lines_of_training_generation_and_processing_tell_progress(capsys: pytest.CaptureFixture) -> None:
    training = (
        "step 120/1,240  loss 2.3456  lr 1.00e-04  1,024 tokens/step  5,000 tokens/s  memory 2.50 GiB  1:02:03 left"
    )
    seen = progress_of(training)
    assert (str(seen), round(seen.left)) == ("step 120/1,240", 3723)
    assert seen.figures == {"loss": 2.3456, "lr": 1e-4, "tokens/step": 1024, "tokens/s": 5000, "memory": 2.5}
    seen = progress_of("step 3/10  held-out loss 1.2000, perplexity 3.32, exact match 12.0%")
    assert (seen.ends, seen.figures) == (None, {"held-out loss": 1.2, "perplexity": 3.32, "exact match": 12})
    generating = generation_progress.Progress(total=4, done=0, ranks=2, talks=True)
    generating.advance(4, 40)
    assert str(progress_of(capsys.readouterr().out)) == "answers 4/4"
    seen = progress_of(RowProgress("rows", 3_000).line(speed=1_000.0))
    assert (str(seen), round(seen.left)) == ("rows 0/3,000", 3)
    for line in ("12/40", "a step 3/10 of it", "step 3/10th", "step 11/10", "rows 120  24 rows/s", "epoch 0/0"):
        assert progress_of(line) is None, line


def test_rows_are_told_every_five_seconds(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for total, expected in (
        (20, "rows 10/20  2 rows/s  0:00:05 left\nrows 20/20  2 rows/s  0:00:00 left\n"),
        (15, "rows 10/15  2 rows/s  0:00:02 left\nrows 20  2 rows/s\n"),  # more than were counted
        (None, "rows 10  2 rows/s\nrows 20  2 rows/s\n"),
    ):
        progress = RowProgress("rows", total)
        for _ in range(20):
            now[0] += 0.5
            progress.advance()
        assert capsys.readouterr().out == expected


def test_a_log_is_followed_from_where_the_job_begins_it_anew(tmp_path: Path) -> None:
    log = tmp_path / "train-x.log"
    log.write_text("step 9/10  0:00:01 left\n")
    follower = LogFollower(log)
    assert not follower.begun and not follower.follow() and follower.progress is None  # an earlier job's
    log.write_text("")
    os.utime(log, ns=(1, 1))
    assert follower.begun and not follower.follow()
    with log.open("a") as file:
        file.write("loading\nstep 1/10  loss 2.0  0:01:30 left\nstep 2/1")
        file.flush()
        assert follower.follow() and str(follower.progress) == "step 1/10"
        assert 89 < follower.progress.left <= 90
        file.write("0  held-out loss 1.9\n")  # says no time left: what was known stays
        file.flush()
        assert follower.follow() and str(follower.progress) == "step 2/10"
        assert 89 < follower.progress.left <= 90
    assert not follower.follow()
    log.write_text("rows 5/7\n")  # begun anew, by a second attempt
    assert follower.follow() and str(follower.progress) == "rows 5/7" and follower.progress.left is None


def test_a_log_that_is_there_already_is_read_from_its_beginning_where_the_job_runs(tmp_path: Path) -> None:
    log = tmp_path / "train-x.log"
    log.write_text(
        "step 1/10  loss 2.0  0:01:30 left\nstep 2/10  loss 1.9  0:01:20 left\nstep 2/10  held-out loss 1.8\n"
    )
    follower = LogFollower(log, begun=True)
    seen = follower.follow()
    assert [each.figures for each in seen] == [{"loss": 2.0}, {"loss": 1.9}, {"held-out loss": 1.8}]
    assert str(follower.progress) == "step 2/10" and 79 < follower.progress.left <= 80


def test_the_time_left_follows_from_the_speed_where_no_line_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    follower = LogFollower(tmp_path / "log")
    for done, left in ((10, None), (20, 40.0), (40, 20.0)):
        (tmp_path / "log").write_text("".join(f"items {number}/60\n" for number in range(done + 1)))
        assert follower.follow() and follower.progress.left == left
        now[0] += 10 if done == 10 else 20


# ---- the running jobs ----


def running(name: str, progress: Progress | None, log: Path = Path("log")) -> Job:
    follower = LogFollower(log)
    follower.progress = progress
    return Job(name, follower, None)


def test_no_line_of_the_running_jobs_is_wider_than_the_terminal() -> None:
    soon = time.monotonic() + 80.5
    jobs = [
        running("train-demo-pretrain", Progress("step", 150, 450, soon)),
        running("process-a-very-long-name-of-a-dataset-v2", Progress("rows", 120_000, 5_000_000, soon)),
        running("report-x", None),
    ]
    for columns in range(20, 201):
        rows = board(jobs, columns)
        lines = [f"{row.before}{FULL * row.full}{EMPTY * row.empty}{row.after}" for row in rows]
        assert all(len(line) <= columns - MARGIN for line in lines), columns
        if columns >= 65:
            assert lines[0].endswith("  step 150/450  0:01:20 left")
            assert lines[1].endswith("rows 120,000/5,000,000  0:01:20 left") and lines[2].endswith("0 s")
            assert len({line.rfind("0:01:20 left") for line in lines[:2]}) == 1  # they stand below each other
        if columns >= 79:
            assert rows[0].full + rows[0].empty == rows[1].full + rows[1].empty >= 8
            assert rows[0].full == round((rows[0].full + rows[0].empty) / 3) and rows[2].full + rows[2].empty == 0
    assert rows[0].full + rows[0].empty == 40 and jobs[1].name in lines[1]
    assert board([], 80) == []


# ---- why a job failed ----

DVC = "ERROR: failed to reproduce 'train-x': failed to run: python scripts/launch.py …, exited with 1\n"
GENERIC = "error: train-x failed; what it said is above and in logs/train-x.log; its earlier result, if any, is kept\n"


@pytest.mark.parametrize(
    ("output", "log", "expected"),
    [
        (f"train-x failed: rank 1 was killed by signal 9\n{DVC}{GENERIC}", "", "rank 1 was killed by signal 9"),
        (GENERIC, "error on rank 1: the loss is not finite\nerror: a consequence\n", "the loss is not finite"),
        ("error: train-x: missing input data/x: make it\n", None, "train-x: missing input data/x: make it"),
        (f"{DVC}{GENERIC}", "Traceback (most recent call last):\n[rank1]: ValueError: none\n", "ValueError: none"),
        (GENERIC, "Traceback (most recent call last):\nKeyError: \x1b[2J\x9bé\n", "KeyError: \\x1b[2J\\x9bé"),
        (f"{DVC}{GENERIC}", None, DVC[7:-1]),
        ("bash: python: command not found\n", "step 1/2\n", None),
        (None, None, None),
    ],
)  # fmt: skip
def test_the_cause_is_one_line_of_what_the_job_wrote(
    tmp_path: Path, output: str | None, log: str | None, expected: str | None
) -> None:
    files = [tmp_path / "output.txt", tmp_path / "train-x.log"]
    for file, text in zip(files, (output, log), strict=True):
        if text is not None:
            file.write_text(text)
    assert cause("train-x", files) == expected


# ---- the handler ----


def record(message: str, level: int = logging.INFO, path: str = "/x/executor.py", **facts) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, path, 1, message, (), None)
    vars(made).update(facts)
    return made


def handler(capsys: pytest.CaptureFixture, **common) -> LogHandler:
    settings = MockOutputSettings()
    settings.printshellcmds = False
    vars(settings).update(common)
    return LogHandler(common_settings=settings, settings=LogHandlerSettings())


def job(number: int, name: str) -> dict:
    return {
        "jobid": number, "rule_name": name, "wildcards": {"run": "x"}, "log": [f"logs/{name}-x.log"], "input": [],
        "output": ["made"], "shellcmd": "true", "resources": {},
    }  # fmt: skip


def test_executors_are_heard_and_snakemakes_own_chatter_is_not(capsys: pytest.CaptureFixture) -> None:
    import snakemake

    talking = handler(capsys)
    core = f"{Path(snakemake.__file__).parent}/dag.py"
    talking.handle(record("Building DAG of jobs...", path=core))
    talking.handle(record("3 jobs have missing provenance/metadata so that it in part", path=core))
    talking.handle(record("Submitted training job train-x-1."))
    talking.handle(record("SageMaker did not answer", logging.WARNING))
    talking.handle(record("MissingInputException in rule train", logging.ERROR, path=core))
    talking.close()
    assert capsys.readouterr().err.splitlines() == [
        "          Submitted training job train-x-1.",
        "warning: SageMaker did not answer",
        "MissingInputException in rule train",
    ]


def test_failures_come_last_though_other_jobs_go_on_and_one_that_is_tried_again_is_none(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    talking = handler(capsys)
    error = {"event": LogEvent.JOB_ERROR, "rule_msg": "its machine was lost"}
    talking.handle(record("stats", event=LogEvent.RUN_INFO, stats={"train": 2, "all": 1, "total": 3}))
    for number, name in ((1, "train"), (2, "generate")):
        talking.handle(record("", event=LogEvent.JOB_INFO, **job(number, name)))
    talking.handle(record("RuleException: CalledProcessError …", logging.ERROR, event=LogEvent.ERROR))
    talking.handle(record("", logging.ERROR, **job(1, "train"), **error))
    talking.handle(record("", logging.ERROR, **job(2, "generate"), **error))
    talking.handle(record("", event=LogEvent.JOB_INFO, **job(2, "generate")))
    talking.handle(record("", event=LogEvent.JOB_FINISHED, job_id=2))
    talking.handle(record("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR))
    talking.close()
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^[\d:]{8}  |\d\.\d s", "", line) for line in lines] == [
        "started   train-x",
        "started   generate-x",
        "failed    train-x  ",
        "failed    generate-x  ",
        "started   generate-x",
        "done      generate-x    (1 of 2)",
        "train-x failed after ",
        "error: its machine was lost",
    ]
    talking.close()  # Snakemake may do so twice
    assert capsys.readouterr().err == ""


def test_verbosely_snakemake_speaks_and_the_cause_comes_after_its_traces(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    talking = handler(capsys, verbose=True, show_failed_logs=False)
    talking.handle(record("Building DAG of jobs..."))
    for number, name in ((1, "train"), (2, "generate")):
        talking.handle(record("", event=LogEvent.JOB_INFO, **job(number, name)))
    (tmp_path / "logs/train-x.log").write_text("Traceback (most recent call last):\nerror: the loss is not finite\n")
    talking.handle(record("", event=LogEvent.JOB_FINISHED, job_id=2))
    talking.handle(record("", logging.ERROR, **job(1, "train"), event=LogEvent.JOB_ERROR, rule_msg=None))
    talking.handle(record("RuleException:\nCalledProcessError in file …", logging.ERROR))
    talking.handle(record("WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR))
    talking.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Building DAG of jobs..." and "RuleException:" in lines
    assert re.fullmatch(r"train-x failed after \d\.\d s: logs/train-x\.log", lines[-2])
    assert lines[-1] == "error: the loss is not finite"


def test_a_job_that_says_no_cause_is_told_by_snakemake_or_by_its_last_line(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    for told, expected in (("MissingOutputException:\nmade is missing", "MissingOutputException: made is missing"),
                           ("RuleException: in line 3", "Killed")):  # fmt: skip
        (tmp_path / "logs/train-x.log").unlink(missing_ok=True)
        talking = handler(capsys)
        talking.handle(record("", event=LogEvent.JOB_INFO, **job(1, "train")))
        (tmp_path / "logs/train-x.log").write_text("step 1/2\nKilled\n")
        talking.handle(record(told, logging.ERROR, event=LogEvent.ERROR))
        talking.handle(record("", logging.ERROR, **job(1, "train"), event=LogEvent.JOB_ERROR, rule_msg=None))
        talking.close()
        *_, place, sentence = capsys.readouterr().err.splitlines()
        assert place.endswith(": logs/train-x.log") and sentence == f"error: {expected}"


def test_quietly_only_failures_are_told(capsys: pytest.CaptureFixture) -> None:
    from snakemake.settings.enums import Quietness

    talking = handler(capsys, quiet={Quietness.ALL})
    for number, name in ((1, "train"), (2, "generate")):
        talking.handle(record("", event=LogEvent.JOB_INFO, **job(number, name)))
    talking.handle(record("Submitted training job train-x-1."))
    talking.handle(record("", event=LogEvent.JOB_FINISHED, job_id=2))
    talking.handle(record("", logging.ERROR, **job(1, "train"), event=LogEvent.JOB_ERROR, rule_msg="lost"))
    talking.close()
    assert capsys.readouterr().err.splitlines()[-1] == "error: lost"


def test_times_say_their_units() -> None:
    seconds = (0.04, 9.94, 9.96, 59.4, 59.6, 187, 3599.6, 3780)
    assert [duration(each) for each in seconds] == [
        "0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "3 min 07 s", "1 h 00 min", "1 h 03 min",
    ]  # fmt: skip
    assert (duration(0), clock(3780.4)) == ("0 s", "1:03:00")
