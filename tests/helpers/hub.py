"""A stand-in for Hugging Face's hub on the loopback interface: it accepts commits of small files, and serves models."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class StubHub(ThreadingHTTPServer):
    """Keeps what clients upload."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses = refuses
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.tokens: set[str | None] = set()
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        """Files to serve by repository, commit and name. A commit is 40 hexadecimal digits."""
        self.branches: dict[str, str] = {}
        """Branches and tags of all repositories, and their commits."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: StubHub

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = re.fullmatch(
            r"/(?:api/models/)?([^/]+/[^/]+)/(revision|tree|resolve)/([^/]+)(?:/(.+))?", self.path.partition("?")[0]
        )
        repository, kind, revision, name = asked.groups() if asked else ("", "", "", "")
        commits = self.server.models.get(repository)
        commit = self.server.branches.get(unquote(revision), revision)
        files = {} if commits is None else commits.get(commit)
        if commits is None:
            self._answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        elif files is None:
            self._answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        elif kind == "revision":
            self._answer(200, {"id": repository, "sha": commit, "siblings": [{"rfilename": key} for key in files]})
        elif kind == "tree":
            self._answer(
                200,
                [
                    {"type": "file", "path": key, "size": len(value), "oid": _sha1(value)}
                    for key, value in files.items()
                ],
            )
        elif name in files:
            self._send(200, files[name], {"ETag": f'"{_sha1(files[name])}"', "X-Repo-Commit": commit})
        else:
            self._answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.paths.append(path)
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.refuses:
            self._answer(403, {"error": "no write access"})
        elif path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer(200, {"url": f"{self.server.url}/me/student", "name": "me/student"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif "/commit/" in path:
            for line in body.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    self.server.files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            self._answer(
                200, {"commitUrl": f"{self.server.url}/me/student/commit/1", "commitOid": "1", "success": True}
            )
        else:
            self._answer(404, {"error": path})

    def _answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(content).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def stub_hub(*, refuses: bool = False) -> Iterator[StubHub]:
    """Run a hub in a thread.

    Args:
        refuses: answer every request with 403.
    """
    server = StubHub(refuses=refuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
