"""An HTTP server in a hook's place."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.recipes.serving import serving


@dataclass
class Hook:
    """A server that takes what is posted; `processes` are the command lines that could be seen then."""

    url: str = ""
    posted: list[tuple[str, Any]] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    answer: int = 200
    silent: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def served() -> Iterator[Hook]:
    """A hook on the loopback address; with `silent` set it takes the connection and says nothing."""
    told = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    told.processes.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.posted.append((self.path, json.loads(body)))
            while told.silent.is_set():
                time.sleep(0.1)
            self.send_response(told.answer)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        try:
            yield told
        finally:
            told.silent.clear()
