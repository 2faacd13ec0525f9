"""The job file: everything that a container has to know about a Snakemake job, as JSON under its own SHA-256.

Identical jobs have identical job files, but for the secret of several hosts; so its digest (without that and the
attempt's number) is a job's identity where the workflow gives none.
"""

import hashlib
import json
import re
import secrets
import shlex
from pathlib import Path

from .objects import ObjectStore
from .secrets import LeakGuard
from .transfer import relative_path, send

FORMAT = 3


def local_files(files) -> list[str]:
    """Return those of Snakemake's FILES that this plugin carries: neither in a storage nor a pipe or service."""
    return [
        str(file)
        for file in files
        if not getattr(file, "is_storage", False) and not {"pipe", "service"} & set(getattr(file, "flags", None) or {})
    ]


def members(job) -> list:
    """Return the single jobs that JOB consists of."""
    return list(job.jobs) if job.is_group() else [job]


def results_of(job, root: Path) -> list[str]:
    """Return the paths of outputs and benchmarks that JOB leaves on this machine, relative to ROOT."""
    files = [file for member in members(job) for file in member.output]
    files += [member.benchmark for member in members(job) if member.benchmark]
    return sorted({relative_path(file, root) for file in local_files(files)})


def logs_of(job, root: Path) -> list[str]:
    """Return the paths of JOB's log files, relative to ROOT."""
    return sorted({relative_path(file, root) for file in local_files(job.log)})


def describe_job(
    job,
    command: str,
    sources: str,
    worker_command: str | None,
    host_timeout: int,
    host_count: int,
    root: Path,
    store: ObjectStore,
    guard: LeakGuard,
) -> dict:
    """Store JOB's inputs and return its job file as a dictionary. SOURCES is the digest of the source archive.

    Several hosts get a secret by which they know each other. It is in the job file alone, which only readers of the
    prefix can read: the file's digest, which is public, tells nothing of it.

    Raises PlainTextSecretError when the command or an input holds a secret.
    """
    guard.check(f"{command}\n{worker_command or ''}", f"the command of rule {job.name}")
    return {
        "format": FORMAT,
        "command": command,
        "worker_command": worker_command,
        "host_timeout": host_timeout,
        "secret": secrets.token_hex(32) if host_count > 1 else None,
        "sources": sources,
        "inputs": send(local_files(job.input), root, store, guard, "the input"),
        "results": results_of(job, root),
        "logs": logs_of(job, root),
    }


def encode(content: dict) -> bytes:
    """Return the bytes of a job file."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def identity(content: dict) -> str:
    """Return a digest of the job file that does not change when Snakemake tries the job again.

    Snakemake writes some options from sets, in an order that changes from run to run; so the command counts as its
    words, sorted.
    """
    words = sorted(shlex.split(re.sub(r"--attempt \d+", "", content["command"])))
    return hashlib.sha256(encode({**content, "command": words, "secret": None})).hexdigest()
