"""How long the tests' one command takes in a fresh clone, as a ratio to the import of NeMo-Run on the same machine.

    python benchmarks/tests_run.py

Clones the checkout's last commit, runs scripts/test.sh there with an empty HOME, and prints wall-clock seconds and the
CPU seconds of import nemo_run (without torch; the mean of before and after). The limit is 12 minutes on 2 cores, where
that import took 1.05 s; on another machine it is as many imports, since the tests keep both cores busy. Nothing else
should run meanwhile. What the tests say goes to the log that is named first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import startup

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 720.0


def imported(folder: Path) -> float:
    """CPU seconds of import nemo_run, the least of five."""
    return min(startup.seconds(["-c", startup.NEMO_RUN], folder)[0] for _ in range(5))


def main() -> int:
    """Measure and print; the tests' exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clone, home, log = folder / "clone", folder / "home", Path(tempfile.gettempdir(), "test-run.log")
        folder.chmod(0o755)  # tests of other accounts look into it
        home.mkdir()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        print(f"log: {log}", flush=True)
        before = imported(folder)
        began = time.monotonic()
        with log.open("w") as file:
            words, environ = ["bash", "scripts/test.sh"], {**os.environ, "HOME": str(home)}
            done = subprocess.run(words, cwd=clone, env=environ, stdout=file, stderr=file, check=False)
        took = time.monotonic() - began
        nemo_run = (before + imported(folder)) / 2
    share, most = took / nemo_run, LIMIT_S / startup.NEMO_RUN_S
    kept = "kept" if took <= LIMIT_S or share <= most else "MISSED"
    print(f"scripts/test.sh   {took:.0f} s, exit code {done.returncode}, on {os.cpu_count()} cores")
    print(f"import nemo_run   {nemo_run:.2f} s")
    print(f"                  {share:.0f} imports, limit {most:.0f} ({LIMIT_S:.0f} s): {kept}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
