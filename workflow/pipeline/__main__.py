"""The ledger by hand: `python workflow/pipeline COMMAND`. `make help` lists the commands that people need.

plan                what would run, and why          check      is dvc.yaml in step with config/?
write               bring dvc.yaml in step           verify     hash everything that is recorded
upgrade             keep the results that new code of the project would make as well, with proof
accept STAGE …      record a harmless code change    clean      what the cache holds in vain
empty-trash         delete what clean has moved away
clean-remote        what the DVC remote and jobs' S3 prefix hold in vain
pull [STAGE …]      bring recorded data from the DVC remote; nothing is executed
costs               what jobs on SageMaker were billed
watch               a page of what runs here, waits and failed, on this machine alone
origin PATH         which commits recorded this file or folder, wherever it lies
run, join, digest, begin, end, merge, outlook   used by the rules, training jobs, launch.py, git and watch
"""

import argparse
import json
import os
import sys
from pathlib import Path

WORKFLOW = Path(__file__).resolve().parent.parent
sys.path[0] = str(WORKFLOW)
sys.path.insert(1, str(WORKFLOW.parent / "scripts"))


def main() -> int:
    """Run one command; a user's mistake is one sentence and exit status 1."""
    from heirloom.report.terminal_text import forgive_characters
    from pipeline.defects import one_sentence

    forgive_characters()
    arguments = parse_arguments()
    os.chdir(WORKFLOW.parent)
    try:
        return COMMANDS[arguments.command](arguments) or 0
    except Exception as error:
        print(f"error: {one_sentence(error)}", file=sys.stderr)
        return 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python workflow/pipeline", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan", help="say for each stage whether it would run, and why")
    plan.add_argument("--runs", help="only these runs: names or patterns, comma-separated")
    plan.add_argument("--data", choices=["local", "remote"], default="local", help="where artifacts belong")
    plan.add_argument("--all", action="store_true", help="list current stages too")
    plan.add_argument("--stages", action="store_true", help="a line for every stage, for programs")
    plan.add_argument("--commit", help="say too what is more here than at this commit (any git revision), and less")
    plan.add_argument("--json", action="store_true", help="the quotation as JSON alone (docs/plan.md)")
    commands.add_parser("costs", help="what jobs on SageMaker were billed, by run, month and kind")
    watch = commands.add_parser("watch", help="serve a page of what runs here, on this machine alone, until Ctrl-C")
    watch.add_argument("--port", type=int, default=0, help="absent: any that is free")
    commands.add_parser("outlook", help="what is still to do, as JSON (`watch` calls this)")
    commands.add_parser("write", help="write dvc.yaml from config/")
    commands.add_parser("check", help="fail when dvc.yaml is out of step with config/")
    commands.add_parser("verify", help="hash every artifact and every object in the cache against dvc.lock")
    accept = commands.add_parser("accept", help="record a harmless code change without executing the stage again")
    accept.add_argument("stage", nargs="+", help="names or patterns, such as 'train-*'")
    accept.add_argument("--reason", help="why it is harmless; it stands in the history")
    upgrade = commands.add_parser("upgrade", help="record with proof what new code of the project leaves as it is")
    upgrade.add_argument("--accept", nargs="+", default=[], help="kinds or patterns of stages to record without proof")
    upgrade.add_argument("--reason", help="why; it stands in the history")
    upgrade.add_argument("--own", nargs="+", default=[], help="stages to execute as they are, in place of small ones")
    clean = commands.add_parser("clean", help="list what nothing recorded needs, and move it to the cache's trash")
    clean.add_argument("--yes", action="store_true", help="do it without asking")
    clean.add_argument(
        "--clones",
        nargs="*",
        type=from_here,
        metavar="FOLDER",
        help="all other clones that use this cache, no folder if there is none; it must be said of a shared one",
    )
    trash = commands.add_parser("empty-trash", help="delete what `clean` has moved to the trash")
    trash.add_argument("--yes", action="store_true", help="delete without asking")
    remote = commands.add_parser(
        "clean-remote", help="list what the DVC remote and jobs' S3 prefix hold in vain, by run"
    )
    remote.add_argument("--yes", action="store_true", help="delete what of it is older than 30 days")
    remote.add_argument("--unknown", action="store_true", help="of the DVC remote also what no commit here ever named")
    origin = commands.add_parser("origin", help="list the commits that recorded exactly this file or folder")
    origin.add_argument("path", type=from_here)
    pull = commands.add_parser("pull", help="bring the recorded data of all stages, or of these, from the DVC remote")
    pull.add_argument("stage", nargs="*")
    commands.add_parser("digest", help="bring the digests of programs in step with their code (dvc.yaml calls this)")
    run = commands.add_parser("run", help="bring one stage up to date (the rules call this)")
    run.add_argument("stage")
    run.add_argument("--marker", type=from_here, required=True)
    run.add_argument("--force", action="store_true")
    join = commands.add_parser("join", help="in a training job, on hosts that are not its first one")
    join.add_argument("stage")
    begin = commands.add_parser("begin", help="tell launch.py a stage's identity; restore an earlier result")
    begin.add_argument("stage")
    begin.add_argument("words", nargs="+", help="after --: what launch.py was started with")
    end = commands.add_parser("end", help="tell launch.py whether a stage is still what was begun")
    end.add_argument("stage")
    end.add_argument("identity")
    merge = commands.add_parser("merge", help="git's merge driver for dvc.lock and dvc.yaml")
    merge.add_argument("files", nargs=3, type=from_here, metavar=("BASE", "OURS", "THEIRS"))
    return parser.parse_args()


def from_here(text: str) -> Path:
    """Return the path that the user means, also after this program has gone to the repository root."""
    return Path(os.path.abspath(text))


def plan(arguments: argparse.Namespace) -> None:
    from heirloom.errors import HeirloomError
    from pipeline.dvc_project import set_aside_damaged_lock
    from pipeline.ledger import open_ledger
    from pipeline.plan import as_json, compare, print_plan, print_quotation, quotation
    from pipeline.provenance import commit_of

    if arguments.commit == "":
        raise HeirloomError("--commit: expected a git revision, as main; it is empty: name one, or leave --commit out")
    if arguments.commit and arguments.stages and not arguments.json:
        raise HeirloomError("--stages and --commit: a list of stages is compared with nothing: leave one of them out")
    set_aside_damaged_lock()  # whoever uses DVC alone has no other command of ours that could
    ledger = open_ledger(arguments.data == "local", arguments.runs)
    found = None if arguments.stages and not arguments.json else quotation(ledger)
    against = None
    if arguments.commit:
        against = compare(found, commit_of(arguments.commit), arguments.commit, arguments.runs)
    if arguments.json:
        print(as_json(found, {"against": against.as_json()} if against else None))
        return
    print_plan(ledger, sys.stdout, everything=arguments.all, folded=not arguments.stages)
    if found is not None:
        print_quotation(found, sys.stdout)
    for line in against.lines() if against else ():
        print(line)


def costs(_: argparse.Namespace) -> None:
    from pipeline.plan import bills, costs_text, outcomes

    print(costs_text(bills(), outcomes()))


def watch(arguments: argparse.Namespace) -> None:
    from pipeline.watch import serve

    serve(arguments.port)


def outlook(_: argparse.Namespace) -> None:
    from pipeline.watch import outlook

    print(json.dumps(outlook()))


def write(_: argparse.Namespace) -> None:
    from pipeline.code import bring_in_step
    from pipeline.dvc_project import set_aside_damaged_lock
    from pipeline.graph import dvcfile, load_graph
    from pipeline.ledger import carry_lock_over

    set_aside_damaged_lock()
    graph = load_graph()[1]
    bring_in_step(graph.programs)
    print("dvc.yaml written" if dvcfile.write(graph) else "dvc.yaml is in step with config/")
    if carried := carry_lock_over(graph):
        print(f"dvc.lock: {carried} entries of an earlier version have the form of today")


def check(_: argparse.Namespace) -> None:
    from pipeline.graph import dvcfile, load_graph

    dvcfile.check(load_graph()[1])


def digest(_: argparse.Namespace) -> None:
    from heirloom.errors import HeirloomError
    from pipeline.code import bring_in_step, carry_over
    from pipeline.graph import dvcfile, load_graph
    from pipeline.ledger import read_lock

    graph = load_graph()[1]
    if carry_over(graph, read_lock()).entries:
        raise HeirloomError("dvc.lock has entries of an earlier version: `make dvc.yaml` carries them over")
    bring_in_step(graph.programs)
    dvcfile.check(graph)  # a module that is imported from now on is an input from now on


def verify(_: argparse.Namespace) -> int:
    from pipeline.upkeep import verify

    return verify()


def accept(arguments: argparse.Namespace) -> None:
    from pipeline.upkeep import accept

    accept(arguments.stage, arguments.reason)


def upgrade(arguments: argparse.Namespace) -> int:
    from pipeline.upkeep import upgrade

    return upgrade(arguments.accept, arguments.reason, arguments.own)


def clean(arguments: argparse.Namespace) -> None:
    from pipeline.upkeep import clean_cache

    clean_cache(arguments.yes, arguments.clones)


def clean_remote(arguments: argparse.Namespace) -> None:
    from pipeline.upkeep import clean_remote

    clean_remote(arguments.yes, arguments.unknown)


def empty_trash(arguments: argparse.Namespace) -> None:
    from pipeline.upkeep import empty_trash

    empty_trash(arguments.yes)


def origin(arguments: argparse.Namespace) -> int:
    from pipeline.provenance import commits_that_recorded

    commits = commits_that_recorded(arguments.path)
    print("\n".join(commits) or f"{arguments.path}: no commit of this repository recorded this content")
    return 0 if commits else 1


def pull(arguments: argparse.Namespace) -> None:
    from pipeline.execution import local_job

    local_job.pull(arguments.stage)


def run(arguments: argparse.Namespace) -> None:
    from pipeline.execution import data_is_remote, keep_output, local_job, remote_job

    keep_output(arguments.stage)
    job = remote_job if data_is_remote() else local_job
    job.run_stage(arguments.stage, arguments.marker, arguments.force)


def join(arguments: argparse.Namespace) -> None:
    from pipeline.execution import join

    join(arguments.stage)


def begin(arguments: argparse.Namespace) -> None:
    from pipeline.execution import begin

    begin(arguments.stage, arguments.words)


def end(arguments: argparse.Namespace) -> None:
    from pipeline.execution import end

    end(arguments.stage, arguments.identity)


def merge(arguments: argparse.Namespace) -> None:
    from pipeline.ledger import merge_files

    merge_files(*arguments.files)


COMMANDS = {
    "plan": plan, "costs": costs, "write": write, "check": check, "verify": verify, "accept": accept, "clean": clean,
    "clean-remote": clean_remote, "empty-trash": empty_trash, "origin": origin, "pull": pull, "run": run, "join": join,
    "begin": begin, "end": end, "merge": merge, "digest": digest, "upgrade": upgrade,
    "watch": watch, "outlook": outlook,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
