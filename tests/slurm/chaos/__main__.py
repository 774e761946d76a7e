"""`scripts/chaos`: exit code 0 where nothing was found, 1 where something was, 2 for a wrong command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from random import randrange

from tests.slurm.chaos.kinds import load
from tests.slurm.chaos.session import Session


def main(argv: list[str]) -> int:
    """Run a session."""
    kinds = load()
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="the same seed draws the same faults (default: a new one)")
    parser.add_argument("--minutes", type=float, default=10.0, help="no fault begins later (default: 10)")
    parser.add_argument("--kinds", default="", metavar="A,B", help="draw from these only (default: all)")
    parser.add_argument("--only", type=int, metavar="N", help="fault N of that seed, and no other")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy what runs with findings have left to DIR")
    parser.add_argument("--list", action="store_true", help="the kinds, a line each")
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(f"{kind.name:36}{kind.about}" for kind in kinds.values()))
        return 0
    names = [name for name in args.kinds.split(",") if name]
    unknown = [name for name in names if name not in kinds]
    if unknown:
        parser.error(f"no kind {', '.join(unknown)}; --list shows them")
    if os.getuid():
        parser.error("needs root, for a Slurm of its own (scripts/install-test-system.sh installs it)")
    seed = randrange(10**6) if args.seed is None else args.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster ends, and its disks are unmounted
    print(f"seed {seed}, {len(names) or len(kinds)} kinds", flush=True)
    return 0 if Session(seed, names, args.keep).run(args.minutes, args.only).clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
