"""A Hugging Face hub on this machine that takes models: its API as far as creating and filling a repository goes."""

from __future__ import annotations

import base64
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.recipes.served import COMMIT, Served


class ModelHub(Served):
    """`repositories`: name -> {"private", "files": path -> bytes}; only `token` writes; `cards`: heads of READMEs."""

    def __init__(self, token: str) -> None:
        super().__init__(_handler(self))
        self.token = token
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.cards: list[Any] = []

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.repositories[name]["files"]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]


def _handler(hub: ModelHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            hub.requests.append(f"GET {self.path}")
            name = urlsplit(self.path).path.removeprefix("/api/models/").partition("/revision/")[0]
            found = hub.repositories.get(name)
            if found is None:
                self._send(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
            else:
                siblings = [{"rfilename": path} for path in found["files"]]
                self._send(
                    200, {"id": name, "sha": COMMIT, "private": found["private"], "siblings": siblings, "tags": []}
                )

        def do_PUT(self) -> None:
            hub.requests.append(f"PUT {self.path}")
            hub.objects[self.path.rpartition("/")[2]] = self._body()
            self._send(200, {})

        def do_POST(self) -> None:
            hub.requests.append(f"POST {self.path}")
            body, path = self._body(), urlsplit(self.path).path
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._send(403, {"error": f"token {self.headers.get('Authorization')} may not write"})
            elif path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                hub.repositories.setdefault(name, {"private": asked.get("visibility") == "private", "files": {}})
                self._send(200, {"url": f"{hub.address}/{name}", "name": name})
            elif path == "/api/validate-yaml":
                hub.cards.append(yaml.safe_load(json.loads(body)["content"].split("---")[1]))
                self._send(200, {"errors": [], "warnings": []})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = [self._upload(one) for one in json.loads(body)["objects"]]
                self._send(200, {"transfer": "basic", "objects": objects})
            elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
                files = [_mode(one["path"]) for one in json.loads(body)["files"]]
                self._send(200, {"files": files})
            elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
                hub.commit(match[1], [json.loads(line) for line in body.splitlines()])
                url = f"{hub.address}/{match[1]}/commit/{COMMIT}"
                self._send(200, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})
            else:
                self._send(404, {"error": "not here"})

        def _upload(self, one: dict[str, Any]) -> dict[str, Any]:
            upload = {"href": f"{hub.address}/lfs/{one['oid']}"}
            return {"oid": one["oid"], "size": one["size"], "actions": {"upload": upload}}

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _send(self, code: int, value: Any, more: dict[str, str] | None = None) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(more or {})}
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(".safetensors") else "regular", "shouldIgnore": False}
