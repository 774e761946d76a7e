"""From a fault to the next training step: AutoModel's tiny pretraining on two nodes of the test cluster, in a chain.

    python benchmarks/recovery.py [--all] [--small]

Brings up a Slurm of its own (scripts/install-test-system.sh installs what that needs; root). For each fault the seconds
until the next step, split into

    detection   from the fault to the end of the Slurm job, or until a spare node takes the lost one's rank
    queue       until the next one's batch script begins
    start-up    until its first agent runs
    load        imports, model, data, checkpoint and the first step

The peer is Slurm's own requeue (`sbatch --requeue`, what NeMo-Run relies on): the same job without `until`, whose node
loses its power. A killed rank is the end of such a job. Nodes are killed with a spare as well. --all adds the hang.

--small takes the tests' training without torch, which loads at once: what is left is the launcher's and Slurm's part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import Checkout, make_tiny_corpus  # noqa: E402  (the project's own test cluster)
from tests.launch.test_train_tiny import SMALL  # noqa: E402
from tests.slurm import learner  # noqa: E402
from tests.slurm.cluster import Cluster, wait_until  # noqa: E402
from tests.slurm.test_chain import Run  # noqa: E402
from tests.slurm.test_chain_pretrain import ENV  # noqa: E402
from tests.slurm.test_pretrain_runs import prepared  # noqa: E402

COMMAND = ("pretrain", "-c", "tiny", *SMALL, "step_scheduler.max_steps=500", "step_scheduler.ckpt_every_steps=10")
SMALL_COMMAND = ("learner", "steps=5000", "every=10")
PARTS = ("detection", "queue", "start-up", "load")
PATIENCE_S = 400.0
SPARE = '\n[spare]\nextends = "chain"\nspares = 1\n'


class Job(Run):
    """A training in a run of its own."""

    def __init__(self, site: Checkout, profile: str) -> None:
        self.site = site
        command = SMALL_COMMAND if (site.root / "recipes" / "learner.py").exists() else COMMAND
        record = site.json(*command, "--batch", profile, "--fresh")
        self.dir, self.run_dir, self.id = Path(record["job_dir"]), Path(record["run_dir"]), record["job_id"]


def seconds(site: Checkout, cluster: Cluster, profile: str, fault: Callable[[Job], None]) -> list[float]:
    """The four parts, in seconds."""
    job = Job(site, profile)
    wait_until(lambda: any(entry["step"] >= 12 for entry in job.metrics()), PATIENCE_S, "step 12")  # of a busy machine
    slurm_id, began = job.attempt(0), time.time()
    fault(job)
    wait_until(lambda: len(job.history("begun")) > 1, PATIENCE_S, "a second attempt")
    begun = job.history("begun")[1]["time"]
    within = job.attempt(1) == slurm_id  # on a spare: Slurm has not been asked for anything
    ended = begun if within else min(end_of(cluster, slurm_id, began), begun)
    wait_until(lambda: any(entry["time"] > begun for entry in job.metrics()), PATIENCE_S, "its first step")
    step = next(entry["time"] for entry in job.metrics() if entry["time"] > begun)
    events = [json.loads(line) for line in (job.dir / "events.jsonl").read_text().splitlines()]
    started = next(event["time"] for event in events if event["state"] == "started" and event.get("attempt") == 1)
    site.run("cancel", job.id, "--now")
    return [ended - began, begun - ended, started - begun, step - started]


def end_of(cluster: Cluster, slurm_id: int, began: float) -> float:
    """When Slurm's job ended, in unix seconds; of a requeued one it is not kept, so the fault's time stands for it."""
    job = cluster.job(slurm_id)
    if job["JobState"] in ("RUNNING", "PENDING"):
        return began
    return max(datetime.fromisoformat(job["EndTime"]).timestamp(), began)


def kill_rank(job: Job) -> None:
    """SIGKILL of a rank."""
    job.kill_rank(1)


def kill_torchrun(job: Job) -> None:
    """SIGKILL of an agent with all below it."""
    os.kill(job.pid_here(job.node(1)["host"], job.node(1)["agent_pid"]), signal.SIGKILL)


def stop_rank(job: Job) -> None:
    """SIGSTOP of a rank: a hang."""
    job.kill_rank(1, signal.SIGSTOP)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="also a hang, which costs `stall` = 15 s")
    parser.add_argument("--small", action="store_true", help="a training that loads at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(shared=(Path(folder),))
        cluster.up()
        try:
            measure(small_site(Path(folder), cluster) if args.small else site(Path(folder), cluster), cluster, args.all)
        finally:
            cluster.down()


def small_site(base: Path, cluster: Cluster) -> Checkout:
    """A checkout with the small training."""
    made = learner.site(base, cluster, 'stall = "15s"')
    env = made.root / "env.toml"
    plain = env.read_text().replace('until = "done"\n', "").replace("[chain]", "[plain]")
    env.write_text(env.read_text() + plain + SPARE)
    return made


def site(base: Path, cluster: Cluster) -> Checkout:
    """A checkout with AutoModel's tiny pretraining, and its data."""
    plain = ENV.replace('until = "done"\n', "").replace("[chain]", "[plain]").partition("[whole]")[0]
    made = prepared(base, cluster, ENV + plain + SPARE, make_tiny_corpus)

    # AutoModel compiles its data helper once a node, in the node's /tmp: half a minute that is not recovery's
    warm = "from nemo_automodel.components.datasets.llm.megatron.megatron_utils import compile_helper as c; c()"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for node in ("c1", "c2", "c3", "c4"):
        cluster.run("srun", "-p", "batch", "-w", node, sys.executable, "-c", warm, PATH=path).check_returncode()
    return made


def measure(site: Checkout, cluster: Cluster, everything: bool) -> None:
    """A line a fault."""

    def power_cut(job: Job) -> None:
        cluster.kill_node(int(job.node(1)["host"][1:]))

    faults = [("a killed rank", kill_rank), ("a killed agent", kill_torchrun), ("a node without power", power_cut)]
    faults += [("a hang (stall = 15 s)", stop_rank)] if everything else []
    print(f"{'':<32}{''.join(f'{part:>11}' for part in PARTS)}{'all':>11}", flush=True)
    took = {}
    for name, fault in faults:
        took[name] = report(name, seconds(site, cluster, "chain", fault))
        cluster.heal()
    for name, fault in faults[1:3]:
        took[f"{name}, spare"] = report(f"{name}, spare", seconds(site, cluster, "spare", fault))
        cluster.heal()
    peer = report("... and Slurm's own requeue", seconds(site, cluster, "plain", power_cut))
    cluster.heal()
    for name in ("a killed agent", "a node without power"):
        ratio = took[name] / took[f"{name}, spare"]
        print(f"{name}, the chain against a spare: x {ratio:.1f}")
    print(f"a node without power, Slurm's requeue against the chain: x {peer / took['a node without power']:.1f}")


def report(name: str, parts: list[float]) -> float:
    """Print them; their sum."""
    print(f"{name:<32}{''.join(f'{part:>9.1f} s' for part in parts)}{sum(parts):>9.1f} s", flush=True)
    return sum(parts)


if __name__ == "__main__":
    main()
