"""A training in 100 lines without torch, for the tests of what befalls a run: it starts at once.

It does what a real one does as far as a launcher can tell: gradients are averaged over the nodes at every step (so a
rank waits for the others, and fails when one is gone), checkpoints lie as AutoModel lays them, SIGTERM saves and ends,
the next attempt goes on from the newest whole checkpoint, and losses are the same whatever happens in between.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.conftest import Checkout, clean_environ, make_checkout
from tests.slurm.cluster import Cluster

RECIPE = '''# /// script
# requires-python = ">=3.10"
# [tool.runspec]
# schema = "1"
# name = "learner"
# docs = "A small training"
# backend = "automodel"
# [tool.runspec.run]
# launch = "python"
# [tool.runspec.config]
# dir = "configs/learner"
# default = "default"
# ///
import errno, json, os, shutil, signal, socket, struct, sys, time
import yaml
config = yaml.safe_load(open(sys.argv[2]))
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
folder, run_dir = config["checkpoint"]["checkpoint_dir"], os.environ["LAUNCH_RUN_DIR"]
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))

def meet():
    port = int(os.environ.get("MASTER_PORT", "0")) + ("TORCHELASTIC_RUN_ID" in os.environ)  # torchrun has the first
    if size == 1:
        return []
    if rank == 0:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen()
        server.settimeout(240)
        return [server.accept()[0] for _ in range(size - 1)]
    for _ in range(2400):
        try:
            return [socket.create_connection((os.environ["MASTER_ADDR"], port), 240)]  # a held rank 0 says nothing
        except OSError:
            time.sleep(0.1)
    sys.exit("no connection to rank 0")

def take(peer, count):
    data = b""
    while len(data) < 8 * count:
        got = peer.recv(8 * count - len(data))
        if not got:
            raise ConnectionError("Connection closed by peer")
        data += got
    return struct.unpack(f"{count}d", data)

def total(values):
    """The sum over the ranks, on every rank."""
    if rank == 0:
        for peer in peers:
            values = [a + b for a, b in zip(values, take(peer, len(values)))]
        for peer in peers:
            peer.sendall(struct.pack(f"{len(values)}d", *values))
        return values
    peers[0].sendall(struct.pack(f"{len(values)}d", *values))
    return list(take(peers[0], len(values)))

def held(step):
    """Whether a test holds the training before this step: what it does comes then, however slow the machine is."""
    if config["hold"] is None or asked:
        return False
    try:
        with open(f"{run_dir}/go") as file:
            return step > int(file.read())
    except FileNotFoundError:
        return step > config["hold"]

def note(what, step, since):
    """What it did from when to when, for a test that computes by hand where the time went."""
    if config["diary"] and rank == 0:
        with open(f"{run_dir}/diary.jsonl", "a") as file:
            file.write(json.dumps({"what": what, "step": step, "since": since, "until": time.time()}) + "\\n")

def save(step):
    since = time.time()
    print(f"x | INFO | root | Saving checkpoint to {folder}/epoch_0_step_{step}", flush=True)
    target = f"{folder}/epoch_0_step_{step}"
    os.makedirs(target, exist_ok=True)
    open(f"{target}/.incomplete", "w").close()
    state = json.dumps({"step": step, "weights": weights, "speed": speed})
    for number in range(4):
        if config["full_at"] == step and not os.path.exists(config["flag"]):
            open(config["flag"], "w").close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
        with open(f"{target}/part-{number}", "w") as file:
            file.write(state if number == 3 else "")
        time.sleep(config["save_s"] / 4)
    os.remove(f"{target}/.incomplete")
    note("saving", step, since)

def load():
    found = [n for n in (os.listdir(folder) if os.path.isdir(folder) else []) if n.startswith("epoch_0_step_")]
    whole = [int(n.rpartition("_")[2]) for n in found if not os.path.exists(f"{folder}/{n}/.incomplete")]
    if not whole:
        return -1, [0.0] * 4, [0.0] * 4
    state = json.load(open(f"{folder}/epoch_0_step_{max(whole)}/part-3"))
    print(f"going on from step {state['step']}", flush=True)
    return state["step"], state["weights"], state["speed"]

peers = meet()
last, weights, speed = load()
if "LAUNCH_PHASE_FILE" in os.environ:
    with open(os.environ["LAUNCH_PHASE_FILE"], "w") as file:
        json.dump({"phase": None, "since": time.time()}, file)  # it takes steps, as recipes/pretrain.py tells
for step in range(last + 1, config["steps"]):
    if step == config["fail_at"] and rank == size - 1:
        raise ValueError(f"no more data at {time.time()}")
    if step == config["tell_at"] and rank == size - 1 and not os.path.exists(config["flag"]):
        open(config["flag"], "w").close()
        raise PermissionError(f"401 for token {os.environ['CHAOS_TOKEN']}")
    while rank == 0 and held(step):  # the other ranks wait for this one
        time.sleep(0.05)
    begun = time.time()
    time.sleep(config["work"])
    inputs = [((step * size + rank) * k * 0.37) % 2 - 1 for k in (1, 2, 3, 5)]
    wrong = sum(w * x for w, x in zip(weights, inputs)) - sum(inputs) * 0.7
    loss, stop, *gradient = total([wrong * wrong / size, float(bool(asked)), *(wrong * x / size for x in inputs)])
    speed = [0.9 * v + g for v, g in zip(speed, gradient)]
    weights = [w - 0.1 * v for w, v in zip(weights, speed)]
    note("step", step, begun)
    if rank == 0:
        print(f"x | INFO | root | step {step} | epoch 0 | loss {loss:.9f} | grad_norm 1.0 | lr 5.50e-04"
              " | mem 0.00 GiB | tps 100.00(50.00/gpu) | num_label_tokens 512", flush=True)
        if stop or (step + 1) % config["every"] == 0 or step + 1 == config["steps"]:
            save(step)
    time.sleep(config["pause"])
    if stop:
        print("stopped", flush=True)
        sys.exit(0)
if rank == 0:
    with open(f"{run_dir}/finished.json.tmp", "w") as file:
        json.dump({"step": config["steps"], "max_steps": config["steps"], "checkpoint": None, "hf": None}, file)
    os.replace(f"{run_dir}/finished.json.tmp", f"{run_dir}/finished.json")
'''
CONFIG: dict[str, Any] = {
    "recipe": "learner.Own",  # no class of AutoModel's, so its keys are not checked
    "steps": 40,
    "every": 5,
    "work": 0.0,
    "pause": 0.1,
    "diary": False,
    "hold": None,
    "save_s": 0.0,
    "fail_at": -1,
    "full_at": -1,
    "tell_at": -1,
    "flag": "${run.dir}/flag",
    "checkpoint": {"checkpoint_dir": "${run.dir}/checkpoints"},
}
ENV = """
[chain]
executor = "slurm"
partition = "{partition}"
nodes = 2
gpus_per_node = 1
nproc_per_node = 1
time = "00:10:00"
container_image = "none"
python = "{python}"
remote_job_dir = "{root}"
stop_grace = 5
until = "done"
{more}
"""


def site(tmp_path: Path, cluster: Cluster, more: str = "", partition: str = "batch") -> Checkout:
    """A checkout on a login node with the recipe `learner` and the profile `chain`; jobs lie in tmp_path/jobs."""
    checkout = make_checkout(tmp_path / "checkout")
    text = ENV.format(python=sys.executable, root=tmp_path / "jobs", more=more, partition=partition)
    (checkout.root / "env.toml").write_text(text)
    put(checkout)
    checkout.environ = {**clean_environ(), **cluster.env}
    return checkout


def put(checkout: Checkout) -> None:
    """The recipe `learner` and its config into a checkout."""
    (checkout.root / "recipes" / "learner.py").write_text(RECIPE)
    (checkout.root / "configs" / "learner").mkdir()
    (checkout.root / "configs" / "learner" / "default.yaml").write_text(json.dumps(CONFIG))


def undisturbed(config: dict[str, Any], ranks: int) -> list[float]:
    """Its losses, computed here."""
    losses, weights, speed = [], [0.0] * 4, [0.0] * 4
    for step in range(config["steps"]):
        loss, gradient = 0.0, [0.0] * 4
        for rank in range(ranks):
            inputs = [((step * ranks + rank) * k * 0.37) % 2 - 1 for k in (1, 2, 3, 5)]
            wrong = sum(w * x for w, x in zip(weights, inputs, strict=True)) - sum(inputs) * 0.7
            loss += wrong * wrong / ranks
            gradient = [g + wrong * x / ranks for g, x in zip(gradient, inputs, strict=True)]
        speed = [0.9 * v + g for v, g in zip(speed, gradient, strict=True)]
        weights = [w - 0.1 * v for w, v in zip(weights, speed, strict=True)]
        losses.append(loss)
    return losses
