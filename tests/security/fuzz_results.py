"""What jobs return, and what is noted of executions, nearly right: it is taken whole, or not at all, in a sentence."""

import contextlib
import hashlib
import io
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from botocore.exceptions import ClientError
from fuzzing import PLUGIN, by_hand, mutated, spoiled
from rich.tree import Tree

from heirloom.report.execution_records import read_records, read_throughput

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(PLUGIN), str(ROOT / "workflow")]

from snakemake_executor_plugin_sagemaker.collection import ResultsError, collect, require_success  # noqa: E402
from snakemake_executor_plugin_sagemaker.objects import ObjectStore  # noqa: E402

from pipeline.graph import Stage  # noqa: E402 - found by the line above
from pipeline.ledger import markers, read_lock, write_entries  # noqa: E402
from pipeline.ledger.entries import expected_entry  # noqa: E402
from pipeline.ledger.entry_form import is_entry  # noqa: E402
from pipeline.ledger.history import History, read_record  # noqa: E402
from pipeline.ledger.identity import identity_of  # noqa: E402
from pipeline.ledger.staleness import differences  # noqa: E402
from pipeline.paths import RECORDS  # noqa: E402
from pipeline.plan import bills, costs_text, outcomes  # noqa: E402
from pipeline.plan.costs import spot_shares  # noqa: E402
from pipeline.plan.environment import environment_changes  # noqa: E402
from pipeline.provenance.trace_tree import ArtifactTree, how_known  # noqa: E402

STAGE = Stage(
    "train",
    "x",
    "python scripts/launch.py torchrun scripts/sft_train.py --config config/runs/x.yaml",
    {"dataset": ("data/processed/a",)},
    "",
    ("scripts/sft_train.py",),
    {"config/runs/x.yaml": ("training",)},
    ("checkpoints/x",),
    ("metrics/training/x.json",),
)
SECTIONS = {"config/runs/x.yaml": {"training": {"learning_rate": 1e-5, "names": ["a", "é"]}}}
HASHES = {"data/processed/a": "a" * 32 + ".dir", "scripts/sft_train.py": "b" * 32}
EXPECTED = expected_entry(STAGE, HASHES.get, SECTIONS.__getitem__, {})
OUTS = [
    {"path": "checkpoints/x", "hash": "md5", "md5": "c" * 32 + ".dir", "size": 7, "nfiles": 2},
    {"path": "metrics/training/x.json", "hash": "md5", "md5": "d" * 32, "size": 3},
]
ENTRY = EXPECTED | {"outs": OUTS}
RECORD = {
    "stage": STAGE.name,
    "identity": identity_of(EXPECTED),
    "commit": "0123abc",
    "command": ["torchrun", "scripts/sft_train.py", "--config", "config/runs/x.yaml"],
    "started": "2026-11-29T00:00:00Z",
    "seconds": 1.5,
    "exit_code": 0,
    "outs": OUTS,
    "notes": [],
    "ranks": {"nodes": 1, "per_node": 2, "device": "cpu"},
    "machine": {"system": "Linux", "processor": "x", "cores": 2},
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
ROW = {"stage": STAGE.name, "identity": identity_of(EXPECTED), "outs": OUTS} | {
    "record": {key: RECORD[key] for key in ("commit", "started", "seconds", "notes", "ranks", "machine", "versions")}
}
SAME = {
    "same": {dep["path"]: ["1" * 32, dep["md5"]] for dep in EXPECTED["deps"][:1]},
    "stages": [STAGE.name],
    "combinations": ["train train"],
    "proof": {"executed": STAGE.name, "commits": ["a", "b"], "outs": {}},
}
ESTIMATE = {
    "quoted": "2026-11-28T00:00:00Z",
    "seconds": {"low": 1.0, "expected": 2, "high": 9.5},
    "count": 1,
    "usd": 3.5,
}
ATTEMPT = {
    "instance_type": "ml.g5.xlarge",
    "instance_count": 1,
    "spot": True,
    "created": "2026-11-29T00:00:00+00:00",
    "training_seconds": 9,
    "billable_seconds": 3,
    "cost_usd": 1.5,
}
JOB = {"job_key": identity_of(EXPECTED), "cost_usd": 1.5, "attempts": [ATTEMPT, ATTEMPT | {"cost_usd": None}]}
MEMBERS = {"out/a.txt": b"a", "out/tree/b": b"b", "log": b"l"}
ALLOWED = ["out", "log"]
PATHS = [
    "../b",
    "/etc/b",
    "a\x00b",
    "out/..",
    "out/../../b",
    ".git/b",
    "OUT/b",
    "out/\udc80",
    "",
    ".",
    "out/" + "b" * 300,
]


class Bucket:
    """S3 as far as a store asks it."""

    class exceptions:  # noqa: N801 - botocore's name
        class NoSuchKey(ClientError):  # noqa: N818
            pass

    def __init__(self, objects: dict[str, bytes]):
        self._objects = objects

    def get_object(self, Bucket: str, Key: str) -> dict:  # noqa: N803 - botocore's names
        if Key not in self._objects:
            raise self.exceptions.NoSuchKey({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self._objects[Key])}

    def download_file(self, bucket: str, key: str, name: str) -> None:
        Path(name).write_bytes(self.get_object(bucket, key)["Body"].read())


def bucket(result: bytes) -> Bucket:
    """Return a bucket with the files of a job and its result."""
    store = {f"p/objects/{digest(content)}": content for content in MEMBERS.values()}
    return Bucket({**store, "p/results/job.json": result})


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def nearly(value: object, chance: random.Random) -> bytes:
    """Return a value as JSON, with some of it changed: a part of it, or bytes of the text."""
    if chance.random() < 0.6:
        for _ in range(chance.choice((1, 1, 2))):
            value = spoiled(value, chance)
        with contextlib.suppress(ValueError):
            return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutated(json.dumps(value, default=str).encode(), chance)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def attack_result(chance: random.Random) -> None:
    """What a job returns goes to the places of its outputs and logs, or nowhere."""
    files = [
        {"path": path, "sha256": digest(content), "executable": False} for path, content in list(MEMBERS.items())[:2]
    ]
    if chance.random() < 0.5:
        files.insert(chance.randrange(3), chance.choice(files) | {"path": chance.choice(PATHS)})
    result = {
        "status": chance.choice(["succeeded", "failed"]),
        "error": None,
        "files": [*files, {"path": "out/empty", "directory": True}],
        "logs": [{"path": "log", "sha256": digest(MEMBERS["log"]), "executable": False}],
    }
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "clone"
        (root / "scripts").mkdir(parents=True)
        (root / "scripts/own.py").write_bytes(b"own")
        (Path(name) / "b").write_bytes(b"beside")
        before = content_of(Path(name))
        try:
            found = collect(ObjectStore(bucket(nearly(result, chance)), "s3://b/p"), "job", root, ALLOWED)
            require_success(found, "job")
            assert all(isinstance(path, str) for path in [entry["path"] for entry in found["files"]])
        except ResultsError as error:
            assert "job" in str(error)
        after = content_of(Path(name))
        mine = {path: after.pop(path) for path in list(after) if path.split("/")[1:2] in (["out"], ["log"])}
        assert after == before
        assert set(mine.values()) <= set(MEMBERS.values())


@contextlib.contextmanager
def clone() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        yield Path(name)


def taken(entry: dict) -> None:
    """An entry from elsewhere is compared, goes into dvc.lock, and comes back as it was."""
    assert is_entry(entry)
    differences(STAGE, entry, HASHES.get, lambda file: SECTIONS[file])
    assert isinstance(identity_of(entry), str)
    write_entries({STAGE.name: entry})
    assert repr(read_lock()[STAGE.name]) == repr(entry)


def attack_marker(chance: random.Random) -> None:
    with clone() as folder:
        file = folder / STAGE.artifact
        file.parent.mkdir(parents=True)
        file.write_bytes(nearly(ENTRY, chance))
        entry = markers.returned_marker(folder, STAGE.artifact)
        if entry is not None:
            taken(entry)
            history = History(folder / "history.jsonl")
            history.add({STAGE.name: entry})
            assert History(folder / "history.jsonl").executed(STAGE.name, entry)


def used(history: History) -> None:
    """Do with what is known of executions what the programs do."""
    entries = {STAGE.name: ENTRY}
    for found in history.find(STAGE.name, EXPECTED):
        taken(found)
        entries = {STAGE.name: found}
    for sentence in environment_changes(history, entries):
        assert sentence.isprintable()
    for same in history.accepted_by(STAGE.name, EXPECTED):
        assert json.dumps(same.as_row()) and how_known(same.proof)
    tree = Tree("")
    ArtifactTree(None)._add_execution(tree, STAGE.name, history.made_with(STAGE.name, entries[STAGE.name]))
    assert all(str(line.label).isprintable() for line in [*tree.children, *tree.children[0].children])
    history.add_if_executed(entries)


def attack_history(chance: random.Random) -> None:
    """Each line is a whole one or nothing, whatever stands before and after it."""
    lines = [json.dumps(ROW | {"identity": "e" * 64}).encode(), nearly(chance.choice([ROW, SAME]), chance)]
    chance.shuffle(lines)
    with clone() as folder:
        file = folder / "history.jsonl"
        file.write_bytes(b"\n".join(lines) + b"\n" * chance.randrange(2))
        before = file.read_bytes()
        history = History(file)
        if file.read_bytes().splitlines()[-1] == lines[-1] or b"\n" not in lines[-1]:
            assert history.rows
        used(history)
        history.add({"train-y": ENTRY | {"cmd": "other"}})
        assert file.read_bytes().startswith(before)
        assert History(file).executed("train-y", ENTRY | {"cmd": "other"})


def attack_record(chance: random.Random) -> None:
    """A record comes back from jobs: a report, a plan and a trace take it or go without."""
    with clone() as folder:
        file = RECORDS / f"{STAGE.name}.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(nearly(RECORD, chance))
        read_record(STAGE.name)
        used(History(folder / "history.jsonl"))
        found = read_records([STAGE.name], folder=RECORDS)
        assert found["seconds"] >= 0


def attack_costs(chance: random.Random) -> None:
    """What jobs were billed, and what was expected of them: a report and `make costs` show amounts, or nothing."""
    with clone() as folder:
        written = {"estimates": ESTIMATE, "costs": JOB}
        spoilt = chance.choice(["estimates", "costs", "both"])
        for place, value in written.items():
            (folder / place).mkdir()
            content = nearly(value, chance) if spoilt in (place, "both") else json.dumps(value).encode()
            (folder / place / f"{STAGE.name}.json").write_bytes(content)
        (folder / "records").mkdir()
        (folder / "records" / f"{STAGE.name}.json").write_text(json.dumps(RECORD))
        costs, estimates = folder / "costs", folder / "estimates"
        found = read_records([STAGE.name], (), folder / "records", costs, estimates)
        assert found["rows"][0]["record"]
        json.dumps(found, allow_nan=False)
        assert 0 <= (found["usd"] or 0) < 1e15
        billed, ended = bills(costs, estimates=estimates), outcomes(costs, estimates=estimates)
        assert all(0 <= bill.dollars < 1e20 for table in billed.values() for bill in table.values())
        assert all(line.isprintable() for line in costs_text(billed, ended).split("\n"))
        assert all(0 < share <= 1 for share, _ in spot_shares(costs).values())


def attack_throughput(chance: random.Random) -> None:
    """So does a training's speed by step: a page draws numbers of it, or nothing."""
    with clone() as folder:
        text = b"step,seconds,tokens_per_second\n" + b"".join(b"%d,%d.5,1e3\n" % (step, step) for step in range(9))
        damaged = bytearray(text)
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(len(damaged))] = chance.choice(b'",\n\r\0-ein\xff9')
        (folder / "train-x.csv").write_bytes(damaged)
        found = read_throughput(["x"], [{"stage": "train-x", "record": {"exit_code": 0}}], folder)
        json.dumps(found, allow_nan=False)


ATTACKS = {
    "result": attack_result,
    "marker": attack_marker,
    "history": attack_history,
    "record": attack_record,
    "costs": attack_costs,
    "throughput": attack_throughput,
}

if __name__ == "__main__":
    by_hand(ATTACKS)
