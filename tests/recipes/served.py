"""What fakes of the Hugging Face hub share: a server on this machine, and how huggingface_hub finds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"
S = TypeVar("S", bound="Served")


class Served:
    """`address` is its own; `requests` are those that it was asked, in order."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environ(self) -> dict[str, str]:
        """What has huggingface_hub use it; uploads take the form of Git LFS."""
        return {"HF_ENDPOINT": self.address, "HF_HUB_DISABLE_XET": "1"}

    @contextmanager
    def running(self: S) -> Iterator[S]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
