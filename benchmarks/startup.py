"""CPU time of the launcher's quick answers, each as a ratio to `python -c pass`.

    python benchmarks/startup.py [--repeat N]

Prints a line a case: CPU seconds (user + system, children included; the least of N runs) and the ratio. The limits
beside them are the project's own: 0.15 s for --help and 0.3 s for a wrong profile's name, on 2 cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

LAUNCH = str(Path(__file__).resolve().parent.parent / "launch.py")
CASES: list[tuple[str, list[str], float | None]] = [
    ("python -c pass", ["-c", "pass"], None),
    ("--help", [LAUNCH, "--help"], 0.15),
    ("a wrong profile name", [LAUNCH, "pretrain", "--run", "no-such-profile"], 0.3),
    ("profiles", [LAUNCH, "profiles"], None),
    ("jobs", [LAUNCH, "jobs"], None),
    ("local dry run", [LAUNCH, "pretrain", "-c", "tiny", "--dry-run"], None),
    ("import nemo_run", ["-c", "import nemo_run"], None),
]


def cpu_seconds(arguments: list[str]) -> float:
    """CPU time of one run of this Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    base = 0.0
    for name, arguments, limit in CASES:
        seconds = min(cpu_seconds(arguments) for _ in range(repeat))
        base = base or seconds
        note = f"   limit {limit:.2f} s: {'kept' if seconds <= limit else 'MISSED'}" if limit else ""
        print(f"{name:<22} {seconds:6.3f} s   x {seconds / base:6.1f}{note}")


if __name__ == "__main__":
    main()
