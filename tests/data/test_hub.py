"""Raw datasets from a hub: the real client code and script against a hub on this machine."""

import io
import json

import datasets
import pytest
from loopback_hub import LoopbackHub

TRAIN = b'{"text": "one"}\n{"text": "two"}\n'
TEST = b'{"text": "three"}\n'
LATER = b'{"text": "changed later"}\n'
CARD = b"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/held_out.jsonl
- config_name: small
  data_files: small/*.jsonl
---
# A dataset
"""


def parquet(rows) -> bytes:
    buffer = io.BytesIO()
    datasets.Dataset.from_list(rows).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def hub():
    hub = LoopbackHub(tokens={"hf_may_read": {"org/gated", "org/private"}, "hf_may_not": set()})
    files = {
        "README.md": CARD,
        "data/train-00000-of-00001.jsonl": TRAIN,
        "data/held_out.jsonl": TEST,
        "small/a.jsonl": TEST,
        "notes/other.jsonl": LATER,
    }
    hub.first = hub.add("org/carded", files)
    hub.second = hub.add("org/carded", {**files, "data/train-00000-of-00001.jsonl": LATER})
    hub.add(
        "org/plain",
        {"train-00000-of-00001.parquet": parquet([{"text": "one"}]), "test.parquet": parquet([{"text": "2"}])},
    )
    hub.add("org/both", {"train.jsonl": TRAIN, "train.parquet": parquet([{"text": "one"}])})
    hub.add("org/choice", {"README.md": CARD.replace(b"default", b"large"), "data/train-0.jsonl": TRAIN})
    hub.add("org/gated", {"train.jsonl": TRAIN}, gated=True)
    hub.add("org/private", {"train.jsonl": TRAIN}, private=True)
    hub.add("org/empty", {"model.bin": b"0"})
    hub.add("org/damaged", {"data/damaged.jsonl": TRAIN})
    hub.damaged.add("data/damaged.jsonl")
    hub.broken.add("org/broken")
    with hub:
        yield hub


@pytest.fixture
def download(hub, run_script, tmp_path):
    """Return a function that runs download_dataset.py for a `source` section against the hub."""

    def run(token: str = "", url: str = "", **source):
        (tmp_path / "config.yaml").write_text(json.dumps({"source": source}))
        arguments = ("--config", "config.yaml", "--sections", "source", "--output", "raw")
        return run_script(
            "download_dataset.py",
            *arguments,
            HF_ENDPOINT=url or hub.url,
            HF_HOME=str(tmp_path / "home"),
            HF_TOKEN=token,
            HF_HUB_OFFLINE="",
            HF_HUB_DISABLE_XET="1",
            NO_PROXY="127.0.0.1",
        )

    return run


def note_of(tmp_path) -> dict:
    return json.loads((tmp_path / "raw/source.json").read_text())


def test_a_pinned_revision_is_what_arrives(hub, download, tmp_path):
    ended = download(hub="org/carded", revision=hub.first)
    assert ended.returncode == 0 and "warning" not in ended.stderr, ended.stderr
    note = note_of(tmp_path)
    assert note["commit"] == hub.first and not (tmp_path / "raw/.cache").exists()
    assert [(file["path"], file["split"]) for file in note["files"]] == [
        ("data/held_out.jsonl", "test"),
        ("data/train-00000-of-00001.jsonl", "train"),
    ]
    assert (tmp_path / "raw/data/train-00000-of-00001.jsonl").read_bytes() == TRAIN
    # and the splits of the card are those that are processed
    from heirloom.data.raw.data_folders import find_raw_files

    assert {file.name: file.split for file in find_raw_files(tmp_path / "raw")}["data/held_out.jsonl"] == "test"


def test_an_unpinned_revision_warns_with_the_commit_to_write_down(hub, download, tmp_path):
    ended = download(hub="org/carded", revision="main")
    assert ended.returncode == 0 and f"revision: {hub.second}" in ended.stderr
    assert note_of(tmp_path)["commit"] == hub.second
    assert (tmp_path / "raw/data/train-00000-of-00001.jsonl").read_bytes() == LATER


def test_configurations_splits_and_files_are_chosen(hub, download, tmp_path):
    for source, expected in (
        ({"hub": "org/carded", "config": "small"}, {"small/a.jsonl": "train"}),
        ({"hub": "org/carded", "splits": ["test"]}, {"data/held_out.jsonl": "test"}),
        ({"hub": "org/plain"}, {"test.parquet": "test", "train-00000-of-00001.parquet": "train"}),
        ({"hub": "org/both", "files": ["*.parquet"]}, {"train.parquet": "train"}),
        (
            {"hub": "org/carded", "configs": ["sm*", "default"]},
            {
                "by-configuration/default/data/held_out.jsonl": "test",
                "by-configuration/default/data/train-00000-of-00001.jsonl": "train",
                "by-configuration/small/small/a.jsonl": "train",
            },
        ),
    ):
        ended = download(**source)
        assert ended.returncode == 0, ended.stderr
        assert {file["path"]: file["split"] for file in note_of(tmp_path)["files"]} == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"hub": "org/gated"}, "org/gated is gated: ask for access"),
        ({"hub": "org/gated", "token": "hf_may_not"}, "org/gated is gated: your token has no access yet"),
        ({"hub": "org/private"}, "there is no org/private, or it is private"),
        ({"hub": "org/carded", "token": "hf_unknown"}, "the token was refused"),
        ({"hub": "org/missing"}, "there is no org/missing"),
        ({"hub": "org/carded", "revision": "0" * 40}, f"has no revision {'0' * 40}"),
        ({"hub": "org/carded", "revision": "v1"}, "has no revision v1"),
        ({"hub": "org/carded", "config": "smal"}, "no configuration smal; did you mean small?"),
        ({"hub": "org/carded", "configs": ["larg*"]}, "has no configuration larg*; known: default, small"),
        ({"hub": "org/carded", "splits": ["tests"]}, "no split tests; did you mean test?"),
        ({"hub": "org/choice"}, "has the configurations large, small; choose one"),
        ({"hub": "org/both"}, "holds .jsonl and .parquet files, perhaps the same rows twice"),
        ({"hub": "org/empty"}, "holds no data files"),
        ({"hub": "org/damaged"}, "arrived damaged"),
        ({"hub": "org/carded", "url": "http://127.0.0.1:9"}, "could not be fetched"),
        ({"hub": "org/broken"}, "could not be fetched"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values()))[:40],
)
def test_what_fails_is_told_in_one_sentence(download, tmp_path, source, message):
    ended = download(**source)
    assert ended.returncode == 1 and not (tmp_path / "raw").exists()
    error = [line for line in ended.stderr.splitlines() if not line.startswith("warning")][-1]
    assert error.startswith("error: ") and message in error and "Traceback" not in ended.stderr, ended.stderr
    assert "hf_" not in ended.stderr + ended.stdout


def test_a_token_opens_a_gated_dataset_and_stays_secret(hub, download, tmp_path):
    ended = download(hub="org/gated", token="hf_may_read")
    assert ended.returncode == 0, ended.stderr
    assert ("Bearer hf_may_read") in {authorization for _, authorization in hub.requests}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hf_may_read" not in written + ended.stdout.encode() + ended.stderr.encode()


def test_pin_writes_commits_and_nothing_else(hub, run_script, tmp_path):
    files = {
        "models/lines.yaml": "# a model\nsource:\n  hub: org/carded   # whose\n  revision: main  # a branch\n",
        "models/new.yaml": "source:\r\n  hub: org/plain  # no revision\r\n# end\r\n",
        "datasets/flow.yaml": "tokenizer: lines\nsource: {hub: org/plain, splits: [train]}  # all on one line\n",
        "datasets/empty.yaml": "source:\n  revision:\n  hub: org/plain\n",
        "datasets/pinned.yaml": f"source: {{hub: org/carded, revision: {hub.first}}}\n",
        "datasets/here.yaml": "source: {path: rows.jsonl}\n",
        "datasets/gone.yaml": "source: {hub: org/nowhere, revision: v1}\n",
    }
    for name, text in files.items():
        (tmp_path / "config" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "config" / name).write_bytes(text.encode())
    for kind, name in (("model", "org/carded"), ("model", "org/plain")):
        hub.repositories[kind, name] = hub.repositories["dataset", name]
    plain = hub.repositories["dataset", "org/plain"].branches["main"]
    reach = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
    done = run_script("pin.py", "--check", "lines", **reach)
    said = "config/models/lines.yaml: org/carded is not pinned (main): `make pin` writes the commit\n"
    assert (done.returncode, done.stdout) == (1, said)
    done = run_script("pin.py", **reach)
    assert done.returncode == 1
    assert done.stderr.startswith("error: config/datasets/gone.yaml: hub: there is no org/nowhere, or it is private")
    expected = files | {
        "models/lines.yaml": files["models/lines.yaml"].replace(": main", f": {hub.second}"),
        "models/new.yaml": f"source:\r\n  hub: org/plain\r\n  revision: {plain}  # no revision\r\n# end\r\n",
        "datasets/flow.yaml": files["datasets/flow.yaml"].replace("org/plain", f"org/plain, revision: {plain}"),
        "datasets/empty.yaml": files["datasets/empty.yaml"].replace("revision:", f"revision: {plain}"),
    }
    for name, text in expected.items():
        assert (tmp_path / "config" / name).read_bytes().decode() == text, name
    (tmp_path / "config/datasets/gone.yaml").unlink()
    done = run_script("pin.py", **reach)
    assert (done.returncode, done.stdout) == (0, "every source from the hub is pinned\n")
    assert "did you mean lines?" in run_script("pin.py", "liens", **reach).stderr
