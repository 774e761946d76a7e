"""Errors a person can cause or fix; only data_prep.main prints them and exits.

The tree, with the exit codes:

    DataPrepError            exit code 1: work failed (disk full, a worker died)
    ├── ConfigError          exit code 2: a key or value of the configuration
    │   └── NoHomeError      its `~USER` is nobody on this machine; the job's may have that one
    ├── InputError           exit code 2: the data or the tokenizer
    ├── RefusedError         exit code 3: a check refused before work started
    └── Interrupted          exit code 130 (SIGINT) or 143 (SIGTERM)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DataPrepError(Exception):
    """The message is shown to the person as it stands, without a traceback. Crosses processes: one argument only."""

    exit_code = 1


class ConfigError(DataPrepError):
    exit_code = 2


class NoHomeError(ConfigError):
    """What is told on a machine that is not the job's is no error."""


class InputError(DataPrepError):
    exit_code = 2


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Files of `what`, a dataset for example.

    Raises:
        InputError: one of them, or a directory on the way to it, cannot be read.
    """
    try:
        yield
    except OSError as e:
        named = f"{e.filename} " if e.filename else ""  # none where the disk fails within a file
        raise InputError(f"{what}: {named}cannot be read: {e.strerror}") from None


class RefusedError(DataPrepError):
    exit_code = 3


class Interrupted(DataPrepError):
    """`exit_code` is 128 + the signal's number, as a shell reports it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.exit_code = 128 + signum
