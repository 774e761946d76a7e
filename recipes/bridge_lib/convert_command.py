"""The command line of convert.py; its output is written whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import contract
from checkpoint_lib import durable
from checkpoint_lib.choice import NoneComplete
from pretrain_lib import file_locks
from pretrain_lib.config import ConfigError
from pretrain_lib.output import say

from . import order
from .conversion import MADE_OF, TO_HF, Conversion, is_complete, settle, told

_LOCK = ".lock"
_LATE_S = 3600.0


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Convert weights between Hugging Face's and Megatron's formats.")
    parser.add_argument("--config", metavar="FILE.yaml", help="direction, source, output and others")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="on top of the file")
    options = parser.parse_intermixed_args(argv)
    try:
        conversion = settle(order.read(options.config, options.settings))
        if is_complete(conversion):
            say(f"nothing left to do: {conversion.output} is complete")
            return 0
        run(conversion)
    except ConfigError as error:
        print(f"convert: {error}", file=sys.stderr, flush=True)
        return contract.CANNOT_BE_USED
    except NoneComplete as error:
        print(f"convert: {error}", file=sys.stderr, flush=True)
        return contract.NO_CHECKPOINT
    say(f"finished: {conversion.direction}: {conversion.output}")
    return 0


def run(conversion: Conversion) -> None:
    """Convert into a directory beside the output, and rename it."""
    from . import adaptations, cpu, stand_ins

    stand_ins.import_megatron()
    cpu.apply()
    adaptations.keep_compiled_helpers()
    from . import exporting, importing

    with _own_directory(conversion.output) as temporary:
        write = exporting.write if conversion.direction == TO_HF else importing.write
        write(conversion, temporary)
        (temporary / MADE_OF).write_text(told(conversion), encoding="utf-8")
        durable.sync(temporary)
        if is_complete(conversion):  # another job was faster with the same
            return
        if conversion.output.exists():
            conversion.output.rmdir()
        (temporary / _LOCK).unlink()
        durable.rename(temporary, conversion.output)


@contextlib.contextmanager
def _own_directory(output: Path) -> Iterator[Path]:
    """A directory beside the output, which is gone afterwards; those that killed processes have left are removed.

    Each holds a lock in it while it lives: another job may be writing the same output.
    """
    for left in output.parent.glob(f".{output.name}.*.partial"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    temporary = output.with_name(f".{output.name}.{os.urandom(4).hex()}.partial")
    temporary.mkdir(parents=True)
    try:
        with file_locks.held(temporary / _LOCK, f"a conversion into {output}"):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_left(directory: Path) -> bool:
    """Whether nobody writes there; one without a lock is just being made, or renamed, or an earlier version's."""
    lock = directory / _LOCK
    with contextlib.suppress(OSError):
        return not file_locks.is_held(lock) if lock.exists() else time.time() - directory.stat().st_mtime > _LATE_S
    return False
