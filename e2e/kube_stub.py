"""An empty Kubernetes API: enough for a control plane that takes its configuration from files.

istiod cannot start without a Kubernetes client even when it reads its configuration from a folder.
Every list is empty, nothing that is asked for by name exists, what is created is accepted and
forgotten, and a watch never tells anything.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# A watch ends after this long, as the real API's do; the client begins another.
_WATCH_SECONDS = 300.0
# Folders below which a path names a kind of object, and not an object.
_NAMESPACED = "namespaces"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer with an empty list, a watch, or that there is no such object."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        parts = url.path.strip("/").split("/")
        if url.path == "/version":
            self._answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        elif query.get("sendInitialEvents") == ["true"]:
            # The client then lists and watches, which is simpler.
            self._answer(422, _status(422, "Invalid"))
        elif query.get("watch") in (["true"], ["1"]):
            self._watch()
        elif len(parts) <= _depth(parts):
            self._answer(200, _discovery(parts))
        elif _is_list(parts):
            self._answer(200, self._empty_list())
        else:
            self._answer(404, _status(404, "NotFound"))

    def do_POST(self) -> None:
        """Accept an object."""
        self._echo(201)

    def do_PUT(self) -> None:
        """Accept a change."""
        self._echo(200)

    def do_PATCH(self) -> None:
        """Accept a change."""
        self._echo(200)

    def _empty_list(self) -> dict[str, Any]:
        """Return a list without a kind, which clients that know what they asked for accept."""
        data: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "items": []}
        if "as=PartialObjectMetadataList" in self.headers.get("accept", ""):
            data |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return data

    def _echo(self, code: int) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(code, json.loads(body) if body.startswith(b"{") else {})

    def _answer(self, code: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        time.sleep(_WATCH_SECONDS)
        self.wfile.write(b"0\r\n\r\n")


def _depth(parts: list[str]) -> int:
    """Return how many parts of a path name the API itself: api/v1, apis/GROUP/VERSION."""
    return 2 if parts[0] == "api" else 3


def _is_list(parts: list[str]) -> bool:
    inside = parts[_depth(parts) :]
    if inside[0] == _NAMESPACED and len(inside) > 2:  # noqa: PLR2004 - namespaces/NAME/KIND
        inside = inside[2:]
    return len(inside) == 1


def _discovery(parts: list[str]) -> dict[str, Any]:
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
    return {"kind": "APIResourceList", "groupVersion": "/".join(parts[1:]), "resources": []}


def _status(code: int, reason: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "code": code,
    }


def main() -> None:
    """Serve until killed, on the port that the command line names."""
    _Server(int(sys.argv[1])).serve_forever()


if __name__ == "__main__":
    main()
