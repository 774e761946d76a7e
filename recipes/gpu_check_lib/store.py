"""A key-value store between nodes: torch's TCPStore, asked in a way that never waits without a limit."""

from __future__ import annotations

import time
from datetime import timedelta

_CALL_S = 15.0
_POLL_S = 0.02


class StoreError(Exception):
    """The store cannot be reached, or does not answer."""


class Store:
    """Strings by name."""

    def __init__(self, host: str, port: int, serve: bool, limit_s: float) -> None:
        """Serve the store on `port` (0: any free one) or reach the one at `host` within `limit_s`.

        Raises:
            StoreError: neither is possible.
        """
        from torch.distributed import TCPStore

        limit = timedelta(seconds=max(limit_s, 1.0))
        try:
            self._store = TCPStore(host, port, is_master=serve, wait_for_workers=False, timeout=limit)
            self._store.set_timeout(timedelta(seconds=_CALL_S))
        except (RuntimeError, ValueError) as error:
            raise StoreError(_first_line(error)) from None
        self.port: int = self._store.port

    def set(self, key: str, value: str) -> None:
        """Write a string.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            self._store.set(key, value)
        except RuntimeError as error:
            raise StoreError(_first_line(error)) from None

    def get(self, key: str, limit_s: float) -> str | None:
        """The string as soon as it is there; None where it is not within `limit_s`.

        Asked again and again: a wait that runs into its limit spoils the connection in older versions of torch.

        Raises:
            StoreError: the store does not answer.
        """
        end = time.monotonic() + limit_s
        try:
            while not self._store.check([key]):
                if time.monotonic() > end:
                    return None
                time.sleep(_POLL_S)
            return str(self._store.get(key).decode())
        except RuntimeError as error:
            raise StoreError(_first_line(error)) from None

    def size(self) -> int:
        """Number of keys, which grows while others are at work.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            return int(self._store.num_keys())
        except RuntimeError as error:
            raise StoreError(_first_line(error)) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
