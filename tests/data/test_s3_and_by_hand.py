"""create_dataset.py by hand with the flags that people have, and S3, against an S3 on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import chat_templates
import datasets
import pytest
from loopback_hub import LoopbackHub
from moto.server import ThreadedMotoServer
from transformers import AutoTokenizer

from heirloom.config.sections.source import DatasetSource
from heirloom.data.datasets_by_hand import parse_by_hand, section_of
from heirloom.data.raw.raw_sources import fetch_raw
from heirloom.errors import HeirloomError

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_this_is_a_secret_token"
CHATS = [
    {"messages": [{"role": "user", "content": f"How many legs? {n}"}, {"role": "assistant", "content": "Eight."}]}
    for n in range(120)
]
LEGACY = (
    *("--no-debug", "--processing-function=dummy_processing_function", "--process-locally", "--model-id=org/model"),
    *("--dataset-name=org/chats", f"--hf-token={TOKEN}", "--max-length=8192", "--truncation=1", "--padding=0"),
    *("--no-add-generation-prompt", "--remove-columns"),
)


@pytest.fixture(scope="module")
def s3():
    """An S3 with an empty bucket; yields the environment to reach it and a client."""
    import boto3

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": host,
    }
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket="bucket")
    yield environment, client
    server.stop()


def objects(client, prefix) -> dict[str, bytes]:
    found = client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return {
        item["Key"].removeprefix(prefix): client.get_object(Bucket="bucket", Key=item["Key"])["Body"].read()
        for item in found
    }


@pytest.fixture(scope="module")
def model_files(tokenizer_folder, tmp_path_factory) -> dict[str, bytes]:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = chat_templates.CHATML
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def hub(model_files):
    hub = LoopbackHub(tokens={TOKEN: {"org/chats"}})
    hub.add("org/model", model_files, kind="model")
    lines = "".join(json.dumps(chat) + "\n" for chat in CHATS).encode()
    hub.add("org/chats", {"train.jsonl": lines}, gated=True)
    with hub:
        yield hub


@pytest.fixture
def online(hub, s3, tmp_path):
    """The environment of a process that reaches this hub and this S3."""
    hf = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": ""}
    return {**s3[0], **hf}


def test_the_legacy_command_line_from_the_hub_to_s3(s3, online, run_script, tmp_path):
    _, client = s3
    ended = run_script("create_dataset.py", "s3://bucket/chats", *LEGACY, **online)
    assert ended.returncode == 0, ended.stderr
    assert "s3://bucket/chats/train: 120 rows" in ended.stdout

    uploaded = objects(client, "chats/")
    assert {"dataset.json", "preview.html", "train/state.json", "train/data-00000-of-00001.arrow"} <= set(uploaded)
    for name, content in uploaded.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    rows = datasets.load_from_disk(str(tmp_path / "copy/train"))
    assert rows.num_rows == 120 and rows.column_names == ["input_ids", "labels"]

    # the same by a config file gives the same bytes: there is one implementation
    (tmp_path / "c.yaml").write_text("processing: {processing_function: dummy_processing_function, max_length: 8192}")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/train.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in CHATS))
    (tmp_path / "tokenizer").mkdir()
    for name, content in hub_model(online).items():
        (tmp_path / "tokenizer" / name).write_bytes(content)
    flags = ("--config", "c.yaml", "--sections", "processing", "--raw", "raw", "--tokenizer", "tokenizer")
    ended = run_script("create_dataset.py", *flags, "--output", "here")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "here/train/data-00000-of-00001.arrow").read_bytes() == uploaded[
        "train/data-00000-of-00001.arrow"
    ]

    # the token was used, and is nowhere
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    everything += b"".join(uploaded.values()) + (ended.stdout + ended.stderr).encode()
    assert TOKEN.encode() not in everything


def test_an_upload_replaces_an_earlier_one_and_nothing_else(s3, monkeypatch, tmp_path):
    from heirloom.errors import HeirloomError
    from heirloom.s3 import upload_folder

    environment, client = s3
    how = {"last": "dataset.json"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(HeirloomError, match="s3://bucket/again"):
        upload_folder(tmp_path, "s3://bucket/again", **how)
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment["AWS_ENDPOINT_URL"])  # the next upload does not go there again
    for name in ("train/data-0.arrow", "train/data-1.arrow", "dataset.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    upload_folder(tmp_path, "s3://bucket/again", **how)
    (tmp_path / "train/data-1.arrow").unlink()
    client.delete_object(Bucket="bucket", Key="again/dataset.json")  # as if the first upload had been killed
    upload_folder(tmp_path, "s3://bucket/again", **how)
    assert set(objects(client, "again/")) == {"train/data-0.arrow", "dataset.json", ".heirloom-files"}

    client.put_object(Bucket="bucket", Key="others/report.pdf", Body=b"1")
    for url, message in (("s3://bucket/others", "choose an empty prefix"), ("s3://nobody/x", "no bucket nobody")):
        with pytest.raises(HeirloomError, match=message):
            upload_folder(tmp_path, url, **how)
    assert objects(client, "others/") == {"report.pdf": b"1"}


def hub_model(environment) -> dict[str, bytes]:
    """Fetch the tokenizer files of the hub's model as they are served."""
    from urllib.request import urlopen

    base = f"{environment['HF_ENDPOINT']}/org/model/resolve/main"
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return {name: urlopen(f"{base}/{name}").read() for name in names}


def test_the_token_leaves_the_command_line_at_once(tmp_path, online):
    """Other users can read a process's command line: it is looked at while the process waits for its input."""
    os.mkfifo(tmp_path / "slow.jsonl")
    arguments = [a if "dataset-name" not in a else f"--dataset-name={tmp_path}/slow.jsonl" for a in LEGACY]
    command = [sys.executable, str(ROOT / "scripts/create_dataset.py"), str(tmp_path / "out"), *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, **online}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        # a fifo is no data file: the process gets as far as looking at it, or still downloads the tokenizer
        deadline = 200
        while deadline:
            line = (ROOT / f"/proc/{process.pid}/cmdline").read_bytes()
            if b"create_dataset.py" in line and TOKEN.encode() not in line:
                break
            deadline -= 1
            if process.poll() is not None:
                break
            subprocess.run(["sleep", "0.05"], check=True)
        assert TOKEN.encode() not in line and b"--max-length=8192" in line
        environment = (ROOT / f"/proc/{process.pid}/environ").read_bytes()
        assert f"HF_TOKEN={TOKEN}".encode() in environment
    finally:
        process.kill()
        process.communicate()


def test_a_raw_dataset_from_an_s3_prefix(s3, run_script, tmp_path):
    environment, client = s3
    for name in ("train/a.jsonl", "train/b.jsonl.gz", "test/a.jsonl", "train/notes.md"):
        client.put_object(Bucket="bucket", Key=f"raw/chats/{name}", Body=b'{"text": "one"}\n')
    (tmp_path / "c.yaml").write_text("source: {s3: 's3://bucket/raw/chats', files: ['**/*.jsonl']}")
    flags = ("--config", "c.yaml", "--sections", "source", "--output", "raw")
    ended = run_script("download_dataset.py", *flags, **environment)
    assert ended.returncode == 0, ended.stderr
    note = json.loads((tmp_path / "raw/source.json").read_text())
    assert {file["path"]: file["split"] for file in note["files"]} == {"test/a.jsonl": "test", "train/a.jsonl": "train"}

    for source, message in (
        ("s3://bucket/nothing", "s3: s3://bucket/nothing holds no data file"),
        ("s3://no-such-bucket/raw", "s3: there is nothing at s3://no-such-bucket/raw"),
    ):
        (tmp_path / "c.yaml").write_text(f"source: {{s3: '{source}'}}")
        ended = run_script("download_dataset.py", *flags, **environment)
        assert ended.returncode == 1 and message in ended.stderr and "Traceback" not in ended.stderr, ended.stderr


def test_what_create_dataset_uploaded_is_the_source_of_a_dataset(s3, monkeypatch, tmp_path):
    """`source: {processed: s3://…}` fetches what is read of it, and nothing else that lies there."""
    environment, client = s3
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    named = ("train/data-00000-of-00001.arrow", "train-prompts.npy", "dataset.json")
    for name in (*named, "preview.html", "train/state.json", "../escape.json", "train/data.py", ".heirloom-files"):
        client.put_object(Bucket="bucket", Key=f"product/{name}", Body=name.encode())
    source = DatasetSource(processed="s3://bucket/product", kind="chat")
    splits, commit = fetch_raw(source, tmp_path / "raw")
    assert (set(splits), commit) == (set(named), None)
    found = {path.relative_to(tmp_path / "raw").as_posix() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
    assert found == set(named)
    with pytest.raises(HeirloomError, match="holds no dataset.json, which create_dataset.py uploads last"):
        client.put_object(Bucket="bucket", Key="half/train/data-00000-of-00001.arrow", Body=b"rows")
        fetch_raw(DatasetSource(processed="s3://bucket/half", kind="chat"), tmp_path / "other")


def test_a_local_model_and_dataset_need_no_hub(run_script, model_files, write_jsonl, tmp_path):
    (tmp_path / "model").mkdir()
    for name, content in model_files.items():
        (tmp_path / "model" / name).write_bytes(content)
    write_jsonl(CHATS, "data.jsonl")
    flags = [a for a in LEGACY if "model-id" not in a and "dataset-name" not in a and "token" not in a]
    flags += ["--model-id=model", "--dataset-name=data.jsonl", "--test-fraction=0.25"]
    ended = run_script("create_dataset.py", "out/processed", *flags)
    assert ended.returncode == 0 and "train: 90 rows" in ended.stdout and "test: 30 rows" in ended.stdout, ended.stderr
    ended = run_script("create_dataset.py", "out/processed", *flags, "--no-process-locally")
    assert ended.returncode == 2 and "remote processing is a stage of the workflow" in ended.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--dataset-name=./missing", "--dataset-name: there is no ./missing; give a path that is here"),
        *(
            (f"--dataset-name={name}", f"--dataset-name: there is no file {name}; give a path that is here")
            for name in ("nowhere.jsonl", "my_data/nowhere.CSV", "./nowhere.json.gz")
        ),
        (
            "--processing-function=dumy_processing_function",
            "--processing-function: dumy.* is not built in; did you mean",
        ),
        ("--max-prompt-length=5", "--max-prompt-length: is for preference and labelled rows, and these are chat"),
    ],
)
def test_wrong_options_are_told_before_anything_is_fetched(wrong, message):
    from heirloom.data.datasets_by_hand import create_by_hand
    from heirloom.errors import HeirloomError

    flags = [argument for argument in LEGACY if "token" not in argument]
    with pytest.raises(HeirloomError, match=message):
        create_by_hand(["out/processed", *flags, wrong])


def test_the_keys_of_processing_are_options_by_hand():
    words = "OUT --model-id=m --dataset-name=d --processing-function=dummy_processing_function --max-length=64"
    more = "--columns message=messages text=notes --train-on last_assistant --truncation-mode keep_end --test-rows 5"
    section = section_of(parse_by_hand([*words.split(), *more.split(), "--train-split", "train_sft"]))
    assert section.model_dump(exclude_unset=True) == {
        "processing_function": "dummy_processing_function", "max_length": 64, "train_on": "last_assistant",
        "columns": {"message": "messages", "text": "notes"}, "truncation_mode": "keep_end", "test_rows": 5,
        "train_split": "train_sft",
    }  # fmt: skip
    text = words.replace("dummy_processing", "plain_text_processing").split()
    assert section_of(parse_by_hand([*text, "--packed", "--test-split=dev"])).packed
    for wrong, said in (
        (("--train-on", "everything"), "--train-on: expected assistant, last_assistant or all"),
        (
            ("--test-rows", "5", "--test-fraction", "0.1"),
            "--test-fraction: test_rows and test_fraction say the same thing twice",
        ),
    ):
        with pytest.raises(HeirloomError) as caught:
            section_of(parse_by_hand([*words.split(), *wrong]))
        assert said in str(caught.value)
