"""CPU time of the launcher's quick answers and of the node agent's start, each as a ratio to `python -c pass`.

    python benchmarks/startup.py [--repeat N]

Prints a line a case: CPU seconds (user + system, children included; the least of N runs), the ratio, and wall-clock
seconds. The limits beside them are the project's own, for 2 cores that do nothing else and import NeMo-Run in 1.05 s;
on another machine a limit is that share of what the import takes there, which is printed, too. The local launch is one
of a script that prints a word, attached, to its end; its node agent is no child, so its CPU time is not in it. The
agent's commands find their byte code, and end where they find no job, once all is imported; `record` does all it does.
HOME has no start-up files, so that a login shell, which a dry run for Slurm asks what a job would find, costs what bash
does. NeMo-Run's import takes torch along where it is installed; here it goes without, as on a laptop.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import own_checkout

LAUNCH = "launch.py"  # of the checkout's copy, as what follows
AGENT = "recipes/node_agent.py"
RANK = "import sys; sys.path.insert(0, sys.argv[1]); from node_agent_lib import worker"
PROFILES = """
[here]
executor = "local"
nproc_per_node = 1
remote_job_dir = "{root}/jobs"
[cluster]
executor = "slurm"
nodes = 2
gpus_per_node = 8
time = "01:00:00"
container_image = "none"
remote_job_dir = "{root}/jobs"
"""
RECIPE = '# /// script\n# [tool.runspec]\n# name = "word"\n# ///\nprint("word")\n'
NEMO_RUN = "import sys; sys.modules['torch'] = None; import nemo_run"
NEMO_RUN_S = 1.05  # of CPU, where the limits were set
CASES: list[tuple[str, list[str], float | None]] = [
    ("python -c pass", ["-c", "pass"], None),
    ("--help", [LAUNCH, "--help"], 0.15),
    ("a wrong profile name", [LAUNCH, "pretrain", "--run", "no-such-profile"], 0.3),
    ("profiles", [LAUNCH, "profiles"], None),
    ("jobs", [LAUNCH, "jobs"], None),
    ("local dry run", [LAUNCH, "pretrain", "-c", "tiny", "--dry-run"], None),
    ("Slurm dry run", [LAUNCH, "pretrain", "-c", "tiny", "--run", "cluster", "--dry-run"], 0.6),
    ("local launch", [LAUNCH, "word.py", "-c", "word.yaml", "--run", "here", "--fresh"], 0.8),
    ("agent: run", [AGENT, "run", "recipes/no-order"], None),
    ("agent: begin", [AGENT, "begin", "recipes/no-job"], None),
    ("agent: finish", [AGENT, "finish", "recipes/no-job"], None),
    ("agent: rank's watcher", ["-c", RANK, "recipes"], None),
    ("agent: record", [AGENT, "record", "recipes", "0", "0"], None),
    ("import nemo_run", ["-c", NEMO_RUN], None),
]


def seconds(arguments: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall-clock time of one run of this Python with these arguments."""
    environ = {**os.environ, "LAUNCH_ENV": str(folder / "env.toml"), "HOME": str(folder)}
    quiet, began = subprocess.DEVNULL, time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [str(folder / word) if word.startswith(("word.", LAUNCH, "recipes")) else word for word in arguments]
    subprocess.run([sys.executable, *arguments], stdout=quiet, stderr=quiet, env=environ, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    base = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        own_checkout.make(folder)
        (folder / "env.toml").write_text(PROFILES.format(root=folder))
        (folder / "word.py").write_text(RECIPE)
        (folder / "word.yaml").write_text("a: 0\n")
        nemo_run = min(seconds(["-c", NEMO_RUN], folder)[0] for _ in range(repeat))
        for name, arguments, limit in CASES:
            cpu, wall = (
                min(column) for column in zip(*(seconds(arguments, folder) for _ in range(repeat)), strict=True)
            )
            base = base or cpu
            share, most = cpu / nemo_run, (limit or 0.0) / NEMO_RUN_S
            kept = "kept" if limit and (cpu <= limit or share <= most) else "MISSED"
            note = f"   {share:.2f} of import nemo_run"
            note += f", limit {most:.2f} ({limit:.2f} s): {kept}" if limit else ""
            print(f"{name:<22} {cpu:6.3f} s   x {cpu / base:6.1f}   wall {wall:6.3f} s{note}")


if __name__ == "__main__":
    main()
