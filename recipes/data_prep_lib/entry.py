"""What recipes that prepare data begin with: `--config FILE`, or `look --config FILE`; signals and errors in words."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from data_prep_lib.errors import DataPrepError, Interrupted

Work = Callable[[Path], Path]  # the configuration -> what is printed when all is done
Look = Callable[[Path, bool], int]  # the configuration, whether its paths mean here what they do in the job


def run(argv: Sequence[str], about: str, work: Work, look: Look, kept: str) -> int:
    """The exit code. `about`: the first line of --help; `kept`: what an interrupt leaves for the next run."""
    looks = list(argv[:1]) == ["look"]
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE.yaml", help="the resolved configuration")
    if looks:
        parser.add_argument("--config-only", action="store_true", help="the data are not on this machine")
    options = parser.parse_args(argv[looks:])
    try:
        if looks:
            return look(options.config, not options.config_only)
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _interrupt)
        print(work(options.config))
    except Interrupted as e:
        print(f"{e}; {kept} are kept\n  run the same command again to go on", file=sys.stderr)
        return e.exit_code
    except DataPrepError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second one would break the orderly end of the workers
    raise Interrupted(signum)
