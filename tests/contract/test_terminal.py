"""What `snakemake` shows: in a pipe, in terminals of 80 and 200 columns, when a stage fails, at Ctrl-C, verbosely."""

import re
from pathlib import Path

from clone import Clone, succeeded
from pseudo_terminal import Screen, in_terminal
from watched_processes import processes_in, wait_for

PROFILE = "Using workflow specific profile workflow/profiles/default for setting default command line arguments."
CLOCK = r"\d\d:\d\d:\d\d"
TIME = r"(?:\d+\.\d s|\d+ s|\d+ min \d\d s)"
BAR = re.compile(r" {10}train-other +([━─]+)  step \d/3  0:00:0\d left")
COLOUR = re.compile(r"\x1b\[(?!0m)[0-9;]+m")
"""A library of DVC's resets them at the end, whether there were any or not."""
ONLY_TRAIN = ("--config", "runs=other", "force=train-other", "--until", "train")
PLUGIN_SOURCES = Path("workflow/plugins/snakemake-logger-plugin-heirloom/src")


def said(done) -> list[str]:
    """Return the lines that a command wrote to a pipe, without the one that Snakemake prints before all others."""
    first, *lines = succeeded(done).stderr.splitlines()
    assert first == PROFILE
    return lines


def words_of(line: str) -> list[str]:
    """Return a line's words, with CLOCK and TIME for times."""
    return re.sub(rf"\b{TIME}", "TIME", re.sub(f"^{CLOCK}", "CLOCK", line)).split()


def test_a_pipe_gets_a_plain_line_as_a_stage_starts_and_ends_and_nothing_else(clone: Clone) -> None:
    done = clone.snakemake("--config", "runs=other", "force=process-text")
    lines = said(done)
    assert done.stdout == ""
    assert lines[:3] == [
        "run     process-text          forced",
        "then    other: train, report  after process-text",
        "1 to run, 2 after them, 0 to restore, 3 up to date",
    ]
    assert [words_of(line) for line in lines[3:]] == [
        ["CLOCK", "started", "process-text"],
        ["CLOCK", "done", "process-text", "TIME", "(1", "of", "3)"],
        ["CLOCK", "started", "train-other"],
        ["CLOCK", "current", "train-other", "TIME", "(2", "of", "3)"],
        ["CLOCK", "started", "report-other"],
        ["CLOCK", "current", "report-other", "TIME", "(3", "of", "3)"],
    ]


def test_it_is_a_plugin_and_tells_progress_in_a_pipe_every_so_many_seconds(clone: Clone) -> None:
    """Installed, Snakemake's own option takes it; here PYTHONPATH stands for an installation."""
    options = ("--logger", "heirloom", "--logger-heirloom-interval", "0.1")
    path = f"{clone.environment({})['PYTHONPATH']}:{clone.folder / PLUGIN_SOURCES}"
    done = clone.snakemake(*options, *ONLY_TRAIN, PYTHONPATH=path, STEPS="3")
    lines = [words_of(line) for line in said(done)]
    running = [line for line in lines if line[1] == "running"]
    assert ["CLOCK", "running", "train-other", "step", "2/3", "TIME", "left"] in running, lines
    assert lines[-1] == ["CLOCK", "done", "train-other", "TIME", "(1", "of", "1)"]


def test_a_dry_run_tells_the_plan_a_line_a_run(fresh: Clone, made: Clone) -> None:
    done = fresh.snakemake("-n")
    assert done.stdout == ""
    plan, estimates = said(done)[:7], said(done)[7:]
    assert plan == [
        "run     text: download, process                 never run",
        "run     tiny: tokenizer, model                  never run",
        "run     pre: train, generate, evaluate, report  never run",
        "run     process-chats                           never run",
        "run     sft: train, generate, report            never run",
        "run     other: train, report                    never run",
        "14 to run, 0 after them, 0 to restore, 0 up to date",
    ]
    # a Llama of width 8 and transformers' own 32 heads, of which nothing can be told
    assert [" ".join(line.split()) for line in estimates[:4]] == [
        "",
        "stage machine steps tokens why",
        "pre: ≈ 160 tokens an epoch · 2 sequences a step",
        "train here 1 ≈ 32 never run",
    ]
    assert estimates[-2:] == [
        "sum of 6 stages: unknown hours; 8 others not counted",
        "not known: a llama of width 8 cannot have 32 heads",
    ]
    done = made.snakemake("-n")
    assert said(done) == ["0 to run, 0 after them, 0 to restore, 14 up to date"]
    assert done.stdout == "Nothing to be done.\n"


def test_stages_that_differ_in_what_is_done_or_why_stand_on_lines_of_their_own(clone: Clone) -> None:
    clone.edit("config/runs/pre.yaml", "learning_rate: 1e-5", "learning_rate: 2e-5")
    (clone.folder / "metrics/evaluation/pre.json").unlink()
    plan = clone.pipeline("plan").stdout.splitlines()[:5]
    assert [" ".join(line.split()) for line in plan] == [
        "run pre: train, report training.learning_rate 1e-05 → 2e-05",
        "then pre: generate, evaluate after train-pre",
        "then sft: train, generate after train-pre",
        "run report-sft training.learning_rate 1e-05 → 2e-05",
        "3 to run, 4 after them, 0 to restore, 7 up to date",
    ]
    assert set(clone.plan()) == {
        "train-pre", "generate-pre", "evaluate-pre", "report-pre", "train-sft", "generate-sft", "report-sft",
    }  # fmt: skip


def test_in_a_terminal_a_bar_shows_a_training_and_a_failure_ends_with_its_cause(clone: Clone) -> None:
    variables = clone.environment({"FAIL": "train-other", "STEPS": "3", "TERM": "xterm-256color"})
    variables.pop("NO_COLOR", None)
    command = ["snakemake", "--config", "runs=other", "force=train-other"]
    code, text = in_terminal(command, clone.folder, variables, columns=80)
    assert code == 1
    assert {len(bar) for bar in bars(text)} <= set(range(20, 41)) and bars(text), frames(text)
    screen = Screen(80).write(text)
    assert [words_of(line) for line in screen.lines()[-4:]] == [
        ["CLOCK", "started", "train-other"],
        ["CLOCK", "failed", "train-other", "TIME"],
        ["train-other", "failed", "after", "TIME:", "logs/train-other.log"],
        ["error:", "this", "stage", "was", "told", "to", "fail"],
    ]
    assert [row for row in screen.wrapped if not PROFILE.startswith(row)] == []
    assert "\x1b[1;31merror: this stage was told to fail\x1b[0m" in text


def test_control_c_ends_a_wide_terminal_without_colour_in_one_clear_line(clone: Clone) -> None:
    slow = Path(f"{clone.trace}.slow")
    slow.unlink(missing_ok=True)
    variables = clone.environment({"SLOW": "train-other", "STEPS": "3", "TERM": "xterm-256color", "NO_COLOR": "1"})
    command = ["snakemake", "--config", "runs=other", "force=train-other"]
    code, text = in_terminal(command, clone.folder, variables, columns=200, interrupt_when=slow.exists)
    assert code == 1
    assert {len(bar) for bar in bars(text)} == {40}, frames(text)
    assert not COLOUR.search(text)
    screen = Screen(200).write(text)
    *_, started, stopping, stopped = screen.lines()
    assert words_of(started) == ["CLOCK", "started", "train-other"]
    assert stopping.removeprefix("^C") == "stopping: running jobs may save their work first"
    assert stopped == "stopped: 0 of 2 done; started again, it goes on from there"
    assert screen.wrapped == []
    wait_for(lambda: not processes_in(clone.folder), seconds=30, every=0.1)


def bars(text: str) -> list[str]:
    """Return the bars as they were drawn."""
    return [match[1] for frame in frames(text) if (match := BAR.fullmatch(frame))]


def frames(text: str) -> list[str]:
    """Return the lines as they were drawn, those of bars once for each time."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))


def test_verbosely_all_that_snakemake_and_the_stages_say_is_shown(clone: Clone) -> None:
    done = succeeded(clone.snakemake("--verbose", *ONLY_TRAIN, STEPS="1"))
    shown = (done.stdout + done.stderr).splitlines()
    for line in (
        "Building DAG of jobs...",
        "localrule train:",
        "train-other: started, log in logs/train-other.log",
        "step 1/1  loss 1.0000  0:00:00 left",
        "Finished jobid: 1 (Rule: train)",
    ):
        assert line in shown, f"{line} is missing in\n{done.stdout}{done.stderr}"
    assert not any(line.startswith("{") for line in (clone.folder / "logs/train-other.log").read_text().splitlines())
