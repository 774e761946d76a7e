"""The whole tiny pretraining run through the launcher, against `torchrun` by hand on the same recipe and config.

    python benchmarks/tiny_run.py [--steps N] [--nproc N]

Needs the data that scripts/quickstart.sh prepares. Both train the same steps from scratch, one after the other, in
directories of their own below a temporary one; prints wall-clock seconds, the ratio, and the last losses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = [sys.executable, str(ROOT / "launch.py"), "pretrain", "-c", "tiny"]


def timed(command: list[str], **kwargs: object) -> float:
    """Wall-clock seconds of a command that must succeed; its output goes to stderr."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, **kwargs)  # type: ignore[call-overload]  # passed on
    return time.perf_counter() - began


def by_hand(job: dict[str, object], nproc: int) -> list[str]:
    """What a person would type: torchrun on the recipe and the resolved config."""
    config = Path(str(job["job_dir"])) / "config.yaml"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]
    return [*torchrun, str(ROOT / "recipes" / "pretrain.py"), "--config", str(config)]


def last_loss(run_dir: Path) -> float:
    """Loss of the last step in AutoModel's own log."""
    lines = (run_dir / "checkpoints" / "training.jsonl").read_text().splitlines()
    return float(json.loads(lines[-1])["loss"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--nproc", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = [
            f"step_scheduler.max_steps={args.steps}",
            f"run.env.nproc_per_node={args.nproc}",
            f"run.env.remote_job_dir={folder}",
        ]
        plan = json.loads(subprocess.run([*LAUNCH, *options, "--dry-run", "--json"], stdout=-1, check=True).stdout)
        run_dir = Path(plan["run_dir"])
        ours = timed([*LAUNCH, *options])
        loss = last_loss(run_dir)
        run_dir.rename(run_dir.with_name("ours"))
        env = {
            **os.environ,
            "LAUNCH_RUN_DIR": str(run_dir),
            "OMP_NUM_THREADS": str((os.cpu_count() or 1) // args.nproc or 1),
        }
        run_dir.mkdir()
        hand = timed(by_hand(plan, args.nproc), env=env)
        print(f"torchrun by hand  {hand:7.1f} s   last loss {last_loss(run_dir):.4f}")
        print(f"launch.py         {ours:7.1f} s   last loss {loss:.4f}   x {ours / hand:.3f}")


if __name__ == "__main__":
    main()
