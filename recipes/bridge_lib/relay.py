"""The lines that tell of the loss, in rank 0's log: Megatron-Bridge prints them on the last rank.

Pipeline parallelism puts the loss there. Who follows a job, and the node agent, read rank 0's log; so the last rank
passes these lines on, through a store of torch's (MASTER_ADDR:MASTER_PORT, where that of the process group is), and a
thread of rank 0 prints them. What cannot be passed on stands in the last rank's log all the same: the training neither
waits for it nor fails by it.

A step's line gets one field more: tokens per second, which Megatron-Bridge does not tell.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TextIO

import contract

_WITHIN = timedelta(seconds=10)
_END = b"\0"
_LAST_LINES_S = 10.0  # that rank 0 waits at the end
_STEP = re.compile(r"^ \[[^]]*\] iteration +\d+/")
_VALIDATION = re.compile(r"^ validation loss at ")
_ELAPSED = re.compile(r"elapsed time per iteration \(ms\): ([\d.]+)")
_BATCH = re.compile(r"global batch size: +(\d+)")

Send = Callable[[str], None]


def with_tokens_per_second(line: str, tokens_per_sample: int | None) -> str:
    """A step's line with the field; other lines as they are."""
    elapsed, batch = _ELAPSED.search(line), _BATCH.search(line)
    if not (tokens_per_sample and _STEP.match(line) and elapsed and batch and float(elapsed.group(1)) > 0):
        return line
    per_second = int(batch.group(1)) * tokens_per_sample / (float(elapsed.group(1)) / 1000.0)
    return f"{line} tokens per second: {per_second:.1f} |"


class LossLines:
    """The last rank's standard output. Contract: a line comes in one write, as print gives it."""

    def __init__(self, stream: TextIO, tokens_per_sample: int | None, send: Send) -> None:
        self._stream = stream
        self._tokens_per_sample = tokens_per_sample
        self._send = send

    def write(self, text: str) -> int:
        """To the stream itself, and onwards where it tells of a step or validation."""
        told = bool(_STEP.match(text) or _VALIDATION.match(text))
        if told:
            self._send(text := with_tokens_per_second(text, self._tokens_per_sample))
        self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def relay(tokens_per_sample: int | None) -> Iterator[None]:
    """Meanwhile. Contract: torch.distributed has been set up, from variables of the environment.

    Without a job's directory there are no logs of single ranks: all write to one place, and nothing is passed on.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    passes_on = world > 1 and bool(os.environ.get(contract.JOB_DIR_VAR))
    own = sys.stdout
    if rank == world - 1:
        sender = _Sender() if passes_on else None
        sys.stdout = LossLines(own, tokens_per_sample, sender.send if sender else _nowhere)
        try:
            yield
        finally:
            sys.stdout = own
            if sender:
                sender.close()
    elif rank == 0 and passes_on:
        thread = threading.Thread(target=_print_all, args=(own,), name="relay", daemon=True)
        thread.start()
        yield
        thread.join(_LAST_LINES_S)  # after a failure nobody waits for lines
    else:
        yield


def _nowhere(_: str) -> None:
    """Rank 0 is the last rank, too."""


class _Sender:
    def __init__(self) -> None:
        self._store = _store()
        self._sent = 0

    def send(self, line: str) -> None:
        self._put(line.encode())

    def close(self) -> None:
        self._put(_END)

    def _put(self, content: bytes) -> None:
        if self._store is None:
            return
        try:
            self._store.set(f"{_attempt()}/{self._sent}", content)
            self._sent += 1
        except Exception:  # of torch's store: the host of it is gone
            self._store = None


def _print_all(stream: TextIO) -> None:
    store, received = _store(), 0
    while store is not None:
        key = f"{_attempt()}/{received}"
        try:
            store.wait([key], timedelta(days=30))
            content = store.get(key)
            store.delete_key(key)
        except Exception:  # its host is gone, or nothing came for a month
            return
        if content == _END:
            return
        stream.write(content.decode("utf-8", "replace") + "\n")  # in one: rank 0 prints lines of its own meanwhile
        stream.flush()
        received += 1


def _attempt() -> str:
    """A restart by torchrun finds the store as the ranks before have left it."""
    return f"launch-relay/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _store() -> Any:
    """A connection of one's own: a wait on the process group's would hold up whoever else needs that."""
    import torch.distributed as dist

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return dist.TCPStore(address, port, is_master=False, timeout=_WITHIN)
    except (KeyError, ValueError, RuntimeError):  # torch's own errors are RuntimeErrors
        return None
