"""The command line of convert.py; its output is written whole or not at all."""

from __future__ import annotations

import argparse
import os
import shutil
import sys

import contract
from checkpoint_lib.choice import NoneComplete
from pretrain_lib.config import ConfigError
from pretrain_lib.output import say

from . import order
from .conversion import TO_HF, Conversion, is_complete, settle


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

    temporary = conversion.output.with_name(f".{conversion.output.name}.{os.getpid()}.partial")
    for left in conversion.output.parent.glob(f".{conversion.output.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)  # of an attempt that was killed
    temporary.mkdir(parents=True)
    try:
        write = exporting.write if conversion.direction == TO_HF else importing.write
        write(conversion, temporary)
        if conversion.output.exists():
            conversion.output.rmdir()
        temporary.rename(conversion.output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
