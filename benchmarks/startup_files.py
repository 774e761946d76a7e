"""What a rank asks of the file systems of code/ and of its Python's packages at its start, by strace.

    python benchmarks/startup_files.py

Runs a small pretraining of two ranks on CPUs twice under strace: as a job of one node has its code, and with the copy
that each node of several has (docs/scale.md). Prints, of the rank that asked the most and the process that watches it,
opens and questions for the times of files and directories. Takes some minutes; needs strace, and /dev/shm for the copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "recipes")]  # this folder has a packaging.py, which is not the library

from node_agent_lib import code_archive  # noqa: E402

from benchmarks import own_checkout  # noqa: E402
from tests.recipes.pretrain_fixtures import SMALL, write_config, write_data  # noqa: E402

PROFILE = '[here]\nexecutor = "local"\nnproc_per_node = 2\nremote_job_dir = "{root}/jobs"\n'
STRACE = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=%file,clone,clone3,fork,vfork", "-o"]
CALL = re.compile(r"(\d+)\s+(\w+)\((?:AT_FDCWD, )?\"([^\"]*)\"")
FORK = re.compile(r"(\d+)\s+(?:<\.\.\. )?(?:clone3?|v?fork)\b.*= (\d+)$")
KINDS = {
    "open": "opens",
    "openat": "opens",
    "stat": "times",
    "newfstatat": "times",
    "lstat": "times",
    "access": "times",
}


def counted(trace: Path, code: str) -> Counter[str]:
    """Of the process that opens the most and its parent, by what and where."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    parents: dict[str, str] = {}
    with trace.open(errors="replace") as lines:
        for line in lines:
            fork, match = FORK.match(line), CALL.match(line)
            if fork:
                parents[fork[2]] = fork[1]
            if not match:
                continue
            pid, call, path = match.groups()
            where = "code" if path.startswith(code) else "packages" if path.startswith(sys.prefix) else None
            if where and call in KINDS:
                found[pid][f"{KINDS[call]} {where}"] += 1
    rank = max(found, key=lambda pid: found[pid]["opens packages"])
    return found[rank] + found[parents[rank]]


def traced(command: list[str], trace: Path, environ: dict[str, str]) -> None:
    """Run it to its end, with what it says shown only if it fails."""
    done = subprocess.run([*STRACE, str(trace), *command], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])


def again(job: Path, folder: Path) -> None:
    """The job's agent as it is started on a node of several, in the job's directory."""
    order = job / "agent.json"
    order.write_text(json.dumps({**json.loads(order.read_text()), "stop_with_parent": False}))
    for name in ("checkpoints", "finished.json"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(folder / "jobs" / job.name.rpartition(".")[0], ignore_errors=True)  # the run
    code_archive.write(str(job), 0, print)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        agent = [sys.executable, f"{job}/code/recipes/node_agent.py", "run", str(order)]
        traced(agent, folder / "after", {**os.environ, "TMPDIR": scratch})
    if "import the code from" not in (job / "logs" / "agent-0.log").read_text():
        sys.exit("no copy was made; see logs/agent-0.log")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        launch = own_checkout.make(folder)
        (folder / "env.toml").write_text(PROFILE.format(root=folder))
        (folder / "data").mkdir()
        write_data(folder / "data")
        config = write_config("tiny", folder, folder / "data", SMALL)
        command = [sys.executable, str(launch), "pretrain", "-c", str(config), "--run", "here", "--name", "files"]
        traced(command, folder / "before", {**os.environ, "LAUNCH_ENV": str(folder / "env.toml")})
        job = folder / "jobs" / "files.1"
        again(job, folder)
        for name in ("before", "after"):
            counts = counted(folder / name, str(job / "code"))
            print(name, ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
