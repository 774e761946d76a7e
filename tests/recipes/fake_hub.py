"""A Hugging Face hub of one dataset on this machine: as much of its API as listing and reading a dataset takes."""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.recipes.served import COMMIT, Served


class Hub(Served):
    """Serves the files below `root` as a dataset; `requests` are the paths asked for, `sent` the bytes of files."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(_handler(self))
        self.root, self.name = root, name
        self.sent = 0
        self.left: int | None = None  # so many requests for files are answered, and the others refused

    def entries(self, folder: str) -> list[dict[str, Any]]:
        files = sorted(p for p in (self.root / folder).rglob("*") if p.is_file())
        folders = sorted({str(p.parent.relative_to(self.root)) for p in files} - {"."})
        found: list[dict[str, Any]] = [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
        return found + [self.entry(p) for p in files]

    def entry(self, path: Path) -> dict[str, Any]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lfs = {"oid": digest, "size": path.stat().st_size, "pointerSize": 1}
        name = str(path.relative_to(self.root))
        return {"type": "file", "path": name, "size": lfs["size"], "oid": digest[:40], "lfs": lfs}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            rest = path.removeprefix(f"/api/datasets/{hub.name}")
            if rest in ("", "/revision/main", f"/revision/{COMMIT}"):
                names = [{"rfilename": entry["path"]} for entry in hub.entries("") if entry["type"] == "file"]
                return self._json({"id": hub.name, "sha": COMMIT, "siblings": names, "private": False, "tags": []})
            if match := re.fullmatch(r"/tree/[^/]+/?(.*)", rest):
                return self._json(hub.entries(match[1])) if (hub.root / match[1]).is_dir() else self._missing()
            if match := re.fullmatch(f"/datasets/{hub.name}/resolve/[^/]+/(.*)", path):
                return self._file(hub.root / match[1])
            return self._missing()

        do_HEAD = do_GET

        def do_POST(self) -> None:
            hub.requests.append(f"POST {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = parse_qs(body) if not body.startswith("{") else json.loads(body)
            self._json([hub.entry(hub.root / name) for name in asked["paths"] if (hub.root / name).is_file()])

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _missing(self) -> None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

        def _file(self, path: Path) -> None:
            if not path.is_file():
                return self._missing()
            data, code = path.read_bytes(), 200
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            if hub.left is not None and path.suffix != ".md":
                hub.left -= 1
                if hub.left < 0:
                    return self._send(403, b"", {})
            if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                data, code = data[first : last + 1], 206
            hub.sent += len(data) if self.command == "GET" else 0
            return self._send(code, data, headers)

        def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
