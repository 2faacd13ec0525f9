"""A Hugging Face Hub on this machine, for the real client code: standard library only.

What is pushed comes as LFS and commits, as with HF_HUB_DISABLE_XET=1 (the content store of Xet is not here).

Endpoints, headers and error codes are those that huggingface_hub 2.4 needs (found by leaving each out).

    hub = LoopbackHub(tokens={"hf_good": {"owner/gated"}})
    commit = hub.add("owner/name", {"README.md": b"…", "data/train.jsonl": b"…"})
    with hub:
        … HF_ENDPOINT=hub.url in the environment of a process that is started now …
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_FILES = (".parquet", ".safetensors")  # kept by content, with SHA-256, as the hub does with LFS


@dataclass
class Repository:
    """Commits of one repository: {commit: {path: content}}, and what the branches point to."""

    name: str
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    """Tags too."""
    messages: list[dict[str, str]] = field(default_factory=list)
    """Of the commits that were pushed: {summary, description}."""


class LoopbackHub:
    """Serves repositories on 127.0.0.1; `damaged` paths arrive with other bytes of the same size."""

    def __init__(self, tokens: dict[str, set[str]] | None = None):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.tokens = tokens or {}
        self.writers: set[str] = set()  # tokens that may write
        self.stored: dict[str, bytes] = {}  # large files, by SHA-256
        self.damaged: set[str] = set()
        self.broken: set[str] = set()  # repositories whose every request ends in an error of the server
        self.requests: list[tuple[str, str | None]] = []  # (path, authorization)

    def add(
        self, name: str, files: dict[str, bytes], kind: str = "dataset", commit: str | None = None, **properties: bool
    ) -> str:
        """Commit files to the branch main of a repository, which is made where it is new; return the commit.

        `commit`: its hash; absent: one that follows from the files.
        """
        repository = self.repositories.setdefault((kind, name), Repository(name, **properties))
        content = repr((name, kind, len(repository.commits), sorted(files.items()))).encode()
        commit = commit or hashlib.sha1(content).hexdigest()
        repository.commits[commit] = files
        repository.branches["main"] = commit
        return commit

    def __enter__(self) -> "LoopbackHub":
        handler = type("Handler", (HubHandler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    routes = (
        (re.compile(r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?"), "info"),
        (
            re.compile(
                r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<path>.*))?"
            ),
            "tree",
        ),
        (
            re.compile(r"/((?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
            "content",
        ),
    )

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.hub.requests.append((url.path, self.headers.get("Authorization")))
        for pattern, answer in self.routes:
            found = pattern.fullmatch(url.path)
            if found:
                parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                return self.with_repository(answer, **parts)
        return self.refuse(404, None, "unknown address")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    writes = (
        (re.compile(r"/api/repos/create"), "create"),
        (re.compile(r"/api/validate-yaml"), "validate"),
        (re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)"), "preupload"),
        (re.compile(r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch"), "batch"),
        (re.compile(r"/stored/(?P<sha256>[0-9a-f]{64})"), "store"),
        (re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)"), "commit"),
        (re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/tag/(?P<revision>[^/]+)"), "tag"),
    )

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        url = urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append((url.path, self.headers.get("Authorization")))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        for pattern, answer in self.writes:
            if found := pattern.fullmatch(url.path):
                if answer != "store" and token not in self.hub.tokens:
                    return self.refuse(401, None, "Invalid credentials in Authorization header")
                if answer not in ("store", "validate") and token not in self.hub.writers:
                    return self.refuse(403, None, "You don't have the rights to write")
                self.token = token
                return getattr(self, answer)(**{key: unquote(value) for key, value in found.groupdict().items()})
        return self.refuse(404, None, "unknown address")

    do_PUT = do_POST  # noqa: N815 - the name that http.server calls

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if ("model", name) in self.hub.repositories:
            return self.refuse(409, None, "You already created this model repo")
        private = asked.get("visibility") == "private"
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, kind="model", private=private)
        self.hub.tokens[self.token].add(name)
        return self.send_json({"url": f"{self.hub.url}/{name}", "id": name})

    def validate(self) -> None:
        self.send_json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        repository = self.hub.repositories["model", name]
        there = repository.commits[repository.branches[revision]]
        modes = []
        for file in json.loads(self.body)["files"]:
            large = file["path"].endswith(LARGE_FILES)
            content = there.get(file["path"])
            oid = content and (hashlib.sha256(content).hexdigest() if large else git_hash(content))
            mode = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            modes.append({**mode, "oid": oid})
        self.send_json({"files": modes})

    def batch(self, name: str) -> None:
        wanted = json.loads(self.body)["objects"]
        objects = [
            one if one["oid"] in self.hub.stored else
            {**one, "actions": {"upload": {"href": f"{self.hub.url}/stored/{one['oid']}"}}}
            for one in wanted
        ]  # fmt: skip
        self.send_json({"transfer": "basic", "objects": objects})

    def store(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            return self.refuse(400, None, "other content than its name says")
        self.hub.stored[sha256] = self.body
        return self.send(200, b"", {})

    def commit(self, name: str, revision: str) -> None:
        repository = self.hub.repositories["model", name]
        head = repository.branches[revision]
        files = dict(repository.commits[head])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                if value.get("parentCommit", head) != head:
                    return self.refuse(412, None, "A commit has happened since")
                repository.messages.append({key: value[key] for key in ("summary", "description")})
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.add(name, files, kind="model")
        return self.send_json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def tag(self, name: str, revision: str) -> None:
        repository = self.hub.repositories["model", name]
        wanted = json.loads(self.body)["tag"]
        if wanted in repository.branches:
            return self.refuse(409, None, "Tag exists")
        repository.branches[wanted] = repository.branches.get(revision, revision)
        return self.send(200, b"", {})

    def log_message(self, *_: object) -> None:
        """Keep the tests' output quiet."""

    def with_repository(self, answer: str, name: str, kind: str = "models", revision: str = "main", path: str = ""):
        """Check access as the hub does: what a gated repository holds may be listed, but not read."""
        if name in self.hub.broken:
            return self.refuse(500, None, "Internal Server Error")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            return self.refuse(401, None, "Invalid credentials in Authorization header")
        repository = self.hub.repositories.get((kind.removesuffix("s"), name))
        allowed = name in self.hub.tokens.get(token, ())
        if repository is None or (repository.private and not allowed):
            return self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.gated and not allowed and answer == "content" and path != "README.md":
            return self.refuse(403 if token else 401, "GatedRepo", f"Access to {name} is restricted")
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return getattr(self, answer)(repository, commit, path)

    def info(self, repository: Repository, commit: str, _: str) -> None:
        siblings = [{"rfilename": path} for path in sorted(repository.commits[commit])]
        gated = "manual" if repository.gated else False
        facts = {"id": repository.name, "sha": commit, "private": repository.private, "gated": gated}
        self.send_json({**facts, "disabled": False, "tags": [], "siblings": siblings})

    def tree(self, repository: Repository, commit: str, folder: str) -> None:
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        inside = f"{folder}/" if folder else ""
        entries, folders = [], set()
        for path, content in sorted(repository.commits[commit].items()):
            if not path.startswith(inside):
                continue
            depth = path.removeprefix(inside).split("/")[:-1]
            folders.update(
                inside + "/".join(depth[: level + 1]) for level in range(len(depth) if recursive else 1) if depth
            )
            if recursive or not depth:
                entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
                if path.endswith(LARGE_FILES):
                    sha256 = hashlib.sha256(content).hexdigest()
                    entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
                entries.append(entry)
        if folder and not entries:
            return self.refuse(404, "EntryNotFound", f"{folder} does not exist on {commit}")
        entries += [{"type": "directory", "path": path, "oid": git_hash(path.encode())} for path in sorted(folders)]
        return self.send_json(entries)

    def content(self, repository: Repository, commit: str, path: str) -> None:
        content = repository.commits[commit].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        large = path.endswith(LARGE_FILES)
        tag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        if path in self.hub.damaged:
            content = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"', "Content-Type": "application/octet-stream"}
        if large:
            headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(content))}
        return self.send(200, content, headers)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        described = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.send(status, json.dumps({"error": message}).encode(), described)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
