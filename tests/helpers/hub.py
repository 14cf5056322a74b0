"""A stand-in for Hugging Face's hub on the loopback interface: it accepts commits of small files."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StubHub(ThreadingHTTPServer):
    """Keeps what clients upload."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses = refuses
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: StubHub

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer(404, {"error": "nothing here"})

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

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


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
