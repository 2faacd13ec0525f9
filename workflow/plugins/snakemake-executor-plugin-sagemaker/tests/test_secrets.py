"""Secrets: what is refused, and that nothing that leaves the machine holds one."""

import base64
import gzip
import hashlib
import json
import os
import shlex
import sys
from types import SimpleNamespace
from urllib.parse import quote, quote_plus

import pytest
from snakemake_interface_common.exceptions import WorkflowError

from running import BUCKET, Workflow
from snakemake_executor_plugin_sagemaker import ExecutorSettings
from snakemake_executor_plugin_sagemaker.archive import source_archive
from snakemake_executor_plugin_sagemaker.container.child import Child
from snakemake_executor_plugin_sagemaker.request import job_environment
from snakemake_executor_plugin_sagemaker.secrets import LeakGuard, PlainTextSecretError, looks_secret

TOKEN = "hf_" + "Aa1" * 12
WANDB = "0123456789abcdef" * 2 + "01234567"
LOCAL = "only-on-this-machine-7f3a"

RULES = """
    envvars: "HF_TOKEN"

    rule job:
        output: "digests.txt"
        log: "job.log"
        shell:
            "printf %s $HF_TOKEN | sha256sum > {output}; printf %s $WANDB_API_KEY | sha256sum >> {output};"
            "echo token $HF_TOKEN and $WANDB_API_KEY > {log}; echo printed $HF_TOKEN; env"
"""


def everything_that_left(loopback, aws) -> bytes:
    """All requests, all objects (unpacked too) and all logs."""
    parts = [request.body + repr(request.headers).encode() for request in loopback.requests]
    for key, data in aws.objects(BUCKET).items():
        parts += [key.encode(), data, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""]
    parts += [loopback.logs.text(name).encode() for name in loopback.jobs]
    parts += [repr(job.describe()).encode() for job in loopback.jobs.values()]
    return b"\n".join(parts)


@pytest.fixture
def references(aws):
    """Secrets at their places, and what names them."""
    aws.client("ssm").put_parameter(Name="/train/wandb", Value=WANDB, Type="SecureString")
    arn = aws.client("secretsmanager").create_secret(Name="hub", SecretString=json.dumps({"token": TOKEN}))["ARN"]
    return [f"HF_TOKEN=secretsmanager:{arn}#token", "WANDB_API_KEY=ssm:/train/wandb"]


def test_jobs_get_secrets_that_never_leave_the_machine(loopback, bucket, aws, tmp_path, monkeypatch, references):
    for name, value in {"HF_TOKEN": TOKEN, "WANDB_API_KEY": WANDB, "SOME_PASSWORD": LOCAL}.items():
        monkeypatch.setenv(name, value)
    workflow = Workflow(tmp_path / "work", RULES)
    code, output = workflow.run(environment=references)
    assert code == 0, output
    digests = [line.split()[0] for line in workflow.text("digests.txt").splitlines()]
    assert digests == [hashlib.sha256(value.encode()).hexdigest() for value in (TOKEN, WANDB)]
    assert workflow.text("job.log") == "token [secret] and [secret]\n"
    [name] = loopback.jobs
    assert "printed [secret]" in loopback.logs.text(name)
    left = everything_that_left(loopback, aws)
    for secret in (TOKEN, WANDB, LOCAL):
        assert secret.encode() not in left
        assert secret not in output


LEAKING = """
    rule job:
        input: "data.txt"
        output: "job.txt"
        shell: "printf %s $HF_TOKEN > {output}"
"""


def test_a_result_that_holds_a_secret_is_not_returned(loopback, bucket, aws, tmp_path, references):
    workflow = Workflow(tmp_path / "work", LEAKING)
    (workflow.folder / "data.txt").write_text("harmless")
    code, output = workflow.run(environment=references)
    assert code != 0
    assert "the result job.txt holds the value of HF_TOKEN" in output
    assert TOKEN.encode() not in everything_that_left(loopback, aws)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("data.txt", (), "the input data.txt holds the value of HF_TOKEN"),
        ("Snakefile", (), "the source Snakefile holds the value of HF_TOKEN"),
        (None, ("--config", f"key={LOCAL}"), "the command of rule job holds the value of HF_TOKEN"),
    ],
)
def test_a_plain_text_secret_is_refused_wherever_it_is(
    loopback, bucket, aws, tmp_path, monkeypatch, file, options, message
):
    monkeypatch.setenv("HF_TOKEN", LOCAL)
    workflow = Workflow(tmp_path / "work", LEAKING)
    (workflow.folder / "data.txt").write_text("harmless")
    if file:
        path = workflow.folder / file
        path.write_text(f"# {LOCAL}\n{path.read_text()}" if file == "Snakefile" else LOCAL)
    code, output = workflow.run(*options)
    assert code != 0
    assert message in output
    assert loopback.requests.of("CreateTrainingJob") == []
    assert LOCAL.encode() not in everything_that_left(loopback, aws)


def environment(*items: str, declared=None, own=None) -> dict[str, str]:
    settings = ExecutorSettings(environment=list(items))
    return job_environment(settings, declared or {}, LeakGuard({}), own or {})


def test_the_environment_takes_references_and_no_secrets():
    assert environment("MODE=fast", "HF_TOKEN=ssm:/hub", "HOME", own={"HOME": "/home/me"}) == {
        "MODE": "fast",
        "HF_TOKEN": "ssm:/hub",
        "HOME": "/home/me",
    }
    declared = {"SNAKEMAKE_STORAGE_S3_SECRET_KEY": "x" * 20, "SNAKEMAKE_STORAGE_S3_REGION": "eu-west-1"}
    assert environment(declared=declared) == {"SNAKEMAKE_STORAGE_S3_REGION": "eu-west-1"}
    with pytest.raises(WorkflowError, match="API_KEY looks like a secret") as caught:
        environment("API_KEY=plain", "MISSING", declared={"MY_TOKEN": "abc"})
    assert "MISSING is not set here" in str(caught.value)
    assert "MY_TOKEN looks like a secret" in str(caught.value)
    with pytest.raises(PlainTextSecretError, match="the variable NOTE holds a Hugging Face token"):
        environment(f"NOTE={TOKEN}")


def test_names_that_merely_sound_like_secrets_pass():
    plain = [
        "TOKENIZERS_PARALLELISM",
        "MAX_TOKENS",
        "KEYBOARD",
        "AUTHOR",
        "PWD",
        "OLDPWD",
        "PATH",
        "BYPASS",
        "PATIENCE",
    ]
    assert not any(map(looks_secret, plain))
    assert all(map(looks_secret, ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "db_password", "GH_AUTH"]))
    assert all(map(looks_secret, ["GITHUB_PAT", "OPENAI_KEY", "KAGGLE_KEY", "HF_KEY", "PGPASSWORD", "MYSQL_PWD"]))
    assert all(map(looks_secret, ["AZURE_STORAGE_KEY", "DB_CONNECTION_STRING", "SSHPASS", "DB_PASS", "SIGNING_KEY"]))


PEM = "-----BEGIN EXAMPLE-----\n" + "\n".join(f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{n:032d}" for n in range(6))
PASSWORD, LEAF = "pass word/7+f&3a", "a1b2c3d4e5f6g7h8i9j0k1"
IN_JSON = json.dumps({"user": "somebody-known", "password": PASSWORD, "deep": [{"k": LEAF}]})
ODD = 'a/b+c=d&e f"g\\h'
GUARDED = {"PEM": PEM, "JSON": IN_JSON, "URL": "postgres://me:s3cret-pass@db/x", "TOKEN": ODD}


def as_printed(text: str) -> list[bytes]:
    data, plain = text.encode(), base64.b64encode
    return [
        *(data, json.dumps({"x": text}).encode(), quote(text, safe="").encode(), quote_plus(text).encode()),
        data.hex().encode(),
        *(plain(before + data + after) for before in (b"", b"u", b"u:", b"us:") for after in (b"", b"x", b"xy")),
        *(base64.urlsafe_b64encode(before + data) for before in (b"", b"u", b"u:")),
    ]


@pytest.mark.parametrize("secret", [PASSWORD, LEAF, "s3cret-pass", ODD])
def test_secrets_and_their_parts_are_redacted_however_they_are_written(secret):
    guard = LeakGuard(GUARDED, formats=False)
    for form in as_printed(secret):
        shown = guard.redact(b"before " + form + b" after")
        assert b"[secret]" in shown and len(shown) < len(b"before [secret] after") + 14, (form, shown)


def test_a_secret_of_several_lines_is_redacted_line_by_line_in_a_jobs_output(capfdbinary):
    child = Child(LeakGuard(GUARDED, formats=False))
    program = (
        f"import sys; sys.stdout.write('begin\\n' + {PEM!r} + '\\nprogress 1\\rprogress 2\\r' + 'X' * 200_000);"
        f"sys.stdout.write({ODD!r} + 'Y' * 200_000 + '\\nend\\n'); print({IN_JSON!r})"
    )
    child.start(f"{sys.executable} -c {shlex.quote(program)}", dict(os.environ), ".")
    assert child.wait() == 0
    shown = capfdbinary.readouterr().out
    assert not any(line.encode() in shown for line in PEM.splitlines())
    assert ODD.encode() not in shown and PASSWORD.encode() not in shown
    assert shown.startswith(b"begin\n[secret]\n") and b"progress 1\rprogress 2\r" in shown
    assert shown.count(b"X") == shown.count(b"Y") == 200_000
    assert "MIIE" not in child.tail(100_000)


def test_an_open_line_of_little_but_secrets_loses_nothing(capfdbinary):
    child = Child(LeakGuard({"KEY": "k" * 40_000}, formats=False))
    chunks = iter([b"k" * 160_000 + b"Z" * 60_000, b"end", b""])  # redacted, shorter than the secret's longest form
    child._process = SimpleNamespace(stdout=SimpleNamespace(read1=lambda _: next(chunks)))
    child._forward_output()
    assert capfdbinary.readouterr().out == b"[secret]" * 4 + b"Z" * 60_000 + b"end"


def test_what_carries_a_secret_in_another_form_does_not_leave_this_machine():
    guard = LeakGuard.of_environment({"DATABASE_URL": GUARDED["URL"], "SIGNING_KEY": IN_JSON, "HOME": "/root"})
    for secret in ("s3cret-pass", PASSWORD, LEAF):
        for form in as_printed(secret):
            with pytest.raises(PlainTextSecretError):
                guard.check(b"before " + form + b" after", "the source x")
    guard.check("somebody-known", "the source x")  # a part that may stand anywhere


def test_a_url_with_a_password_is_refused_in_a_jobs_variables():
    settings = ExecutorSettings(environment=["PROXY=http://me:s3cret-pass@proxy:3128", "PLAIN=http://proxy:3128"])
    with pytest.raises(WorkflowError, match="PROXY is a URL with a password") as refused:
        job_environment(settings, {}, LeakGuard({}), own={})
    assert "s3cret" not in str(refused.value) and "PLAIN" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [TOKEN, "AKIA" + "ABCDEFGH" * 2, "ghp_" + "x1" * 20, "-----BEGIN PRIVATE " + "KEY-----", "sk-proj-" + "a1" * 20],
)
def test_well_known_tokens_are_found_in_sources(tmp_path, text):
    (tmp_path / "settings.py").write_text(f"value = '{text}'\n")
    with pytest.raises(PlainTextSecretError, match="the source settings.py holds"):
        source_archive(["settings.py"], tmp_path, LeakGuard({}))


def test_places_of_secrets_are_no_secrets():
    LeakGuard({"GOOGLE_APPLICATION_CREDENTIALS": "/etc/keys.json"}).check("open('/etc/keys.json')", "the source")


def test_a_secret_across_two_chunks_of_a_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("snakemake_executor_plugin_sagemaker.secrets._CHUNK", 10)
    (tmp_path / "file").write_text("x" * 5 + LOCAL)
    with pytest.raises(PlainTextSecretError, match="the file holds the value of NAME"):
        LeakGuard({"NAME": LOCAL}).check_file(tmp_path / "file", "the file")
