"""Each trial: a function of the place that returns what it has seen, and raises where that is not what was promised."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
from array import array
from collections.abc import Callable
from typing import Any

import yaml

from automodel_launch import api, backends
from automodel_launch.backends.automodel.model import compute, parameters, shape
from automodel_launch.remote import gpu_models
from scripts.gpu_trial_lib.place import Place, pace, tail

Trial = Callable[[Place], str]
_GIB = 2**30
_TINY = (
    "step_scheduler.max_steps=30", "step_scheduler.ckpt_every_steps=10", "step_scheduler.val_every_steps=10",
    "lr_scheduler.lr_decay_steps=30", "lr_scheduler.lr_warmup_steps=3", "validation_dataset.num_val_samples=16",
)  # fmt: skip
_SMALL = ("dataset.seq_length=64", "model.config.num_hidden_layers=1", "model.config.hidden_size=64")
_BF16 = ("distributed.mp_policy.param_dtype=bfloat16",)


def tiny(place: Place) -> str:
    """configs/pretrain/tiny through --run local: bf16 and NCCL on a GPU; the loss falls, the checkpoint is exported."""
    done = place.launch("pretrain", "-c", "tiny", "--name", place.run("tiny"), *_options(place))
    _require(done.returncode == 0, tail(done))
    rows = place.steps(f"{place.run('tiny')}.1")
    _require(len(rows) == 30, f"{len(rows)} steps of 30 were logged")
    _require(rows[-1]["loss"] < rows[0]["loss"] - 0.3, f"loss {rows[0]['loss']} to {rows[-1]['loss']}")
    verified = place.launch("checkpoints", place.run("tiny"), "verify")
    _require(verified.returncode == 0, verified.stdout)
    return f"loss {rows[0]['loss']:.2f} to {rows[-1]['loss']:.2f}, {pace(rows):,.0f} tokens/s, checkpoints whole"


def adapter(place: Place) -> str:
    """cpu_adapter does nothing where there is CUDA: the config keeps its backend, and no line says otherwise."""
    saved = place.jobs / place.run("tiny") / "checkpoints" / "epoch_0_step_29" / "config.yaml"
    backend = yaml.safe_load(saved.read_text(encoding="utf-8"))["dist_env"]["backend"]
    said = "no CUDA: running on the CPU" in (place.jobs / f"{place.run('tiny')}.1" / "logs" / "rank-0.log").read_text(
        errors="replace"
    )
    _require((backend, said) == (("gloo", True) if place.cpu else ("nccl", False)), f"backend {backend}, said: {said}")
    return f"backend {backend}, {'told in the log' if said else 'nothing in the log'}"


def killed(place: Place) -> str:
    """A rank that is killed is named; the same launch again goes on from the last checkpoint, to the same loss."""
    run = place.run("killed")
    words = ("pretrain", "-c", "tiny", "--name", run, *_options(place))
    started = place.launch(*words, "--batch", "local")
    _require(started.returncode == 0, tail(started))
    place.wait_for_step(f"{run}.1", 12)
    record = json.loads((place.jobs / f"{run}.1" / "nodes" / "0.json").read_text(encoding="utf-8"))
    os.kill(int(record["ranks"]["0"]), signal.SIGKILL)
    ended = place.launch("attach", f"{run}.1")
    told = place.document("status", f"{run}.1")
    _require((told["state"], told["rank"]) == ("FAILED", 0), f"{told['state']}, rank {told['rank']}: {tail(ended)}")
    again = place.launch(*words)
    _require(again.returncode == 0, tail(again))
    first, last = place.steps(f"{run}.2")[0]["step"], place.steps(f"{run}.2")[-1]["loss"]
    whole = place.steps(f"{place.run('tiny')}.1")[-1]["loss"]
    _require(first in (10, 20), f"it went on at step {first}")
    _require(abs(last - whole) < 0.02, f"loss {last} at the end, undisturbed {whole}")
    return f"named ({told['error']}); went on at step {first}; loss {last:.3f}, undisturbed {whole:.3f}"


def nanogpt(place: Place) -> str:
    """configs/pretrain/nanogpt, 124 million parameters."""
    folder = place.data / "nanogpt"
    folder.mkdir(parents=True, exist_ok=True)
    length = 20_000 if place.cpu else 3_000_000
    ids = array("H", random.Random(0).choices(range(50_000), k=length))
    head = struct.pack("<4i", 278895051, 1, length, 2).ljust(1024, b"\0")
    (folder / "shard.bin").write_bytes(head + ids.tobytes())
    small = ("model.n_layer=2", "model.n_embd=64", "model.n_head=2", "dataset.seq_len=64", "model.n_positions=64")
    steps = ("checkpoint.enabled=false",)
    batch = (
        ("step_scheduler.global_batch_size=4", "step_scheduler.local_batch_size=2")
        if place.cpu
        else ("step_scheduler.global_batch_size=64", "step_scheduler.local_batch_size=16")
    )
    return _measured(place, "nanogpt", (*steps, *batch, *(small if place.cpu else ())))


def llama(place: Place) -> str:
    """The model of configs/pretrain/llama-3.2-1b on the quickstart's data."""
    small = ("num_hidden_layers=2", "hidden_size=64", "intermediate_size=128", "num_attention_heads=4",
             "num_key_value_heads=2", "head_dim=16", "vocab_size=4096")  # fmt: skip
    batch = ("step_scheduler.global_batch_size=4", "step_scheduler.local_batch_size=2", "dataset.seq_length=64")
    large = ("step_scheduler.global_batch_size=16", "step_scheduler.local_batch_size=4")
    more = (*batch, *(f"model.config.{one}" for one in small)) if place.cpu else large
    return _measured(place, "llama-3.2-1b", (*_llama(place), *more))


def memory(place: Place) -> str:
    """A batch that no card holds: the job fails, and its error and advice say so."""
    if place.cpu:
        return "skipped: it needs a GPU"
    words = (*_llama(place), "step_scheduler.global_batch_size=512", "step_scheduler.local_batch_size=512")
    stops = ("--force", "--name", place.run("memory"), "distributed.activation_checkpointing=false")
    done = place.launch("pretrain", "-c", "llama-3.2-1b", *words, *stops)
    _require(done.returncode != 0, "it ran")
    told = place.document("status", f"{place.run('memory')}.1")
    _require("out of memory" in str(told["error"]).lower(), f"error: {told['error']}")
    return f"{str(told['error'])[:100]}; advice: {told.get('advice') or 'none'}"


def doctor(place: Place) -> str:
    """doctor --gpu of this machine."""
    if place.cpu:
        return "skipped: it needs a GPU"
    done = place.launch("doctor", "--gpu", "local")
    _require(done.returncode == 0, tail(done))
    return (done.stdout.strip().splitlines() or ["nothing was printed"])[-1][:150]


TRIALS: dict[str, Trial] = {one.__name__: one for one in (tiny, adapter, killed, nanogpt, llama, memory, doctor)}


def _options(place: Place) -> tuple[str, ...]:
    return (*_TINY, *(_SMALL if place.cpu else _BF16))


def _llama(place: Place) -> tuple[str, ...]:
    data = f"{place.data}/tiny"
    return (
        f"dataset.paths={data}/megatron/blend.json",
        f"dataset.tokenizer.pretrained_model_name_or_path={data}/tokenizer",
        "validation_dataset.num_val_samples=4", "dataloader.num_workers=0", "~dataloader.persistent_workers",
        "checkpoint.enabled=false", "dataset.seq_length=2048",
    )  # fmt: skip


def _measured(place: Place, config: str, words: tuple[str, ...]) -> str:
    """Thirty steps: tokens a second, the share of the card's peak, and peak memory beside the estimate."""
    steps = 6 if place.cpu else 30
    # of one process FSDP2's policy, which would compute in bfloat16, is not applied
    half = () if place.cpu else ("+distributed.autocast_dtype=bfloat16",)
    words = (f"step_scheduler.max_steps={steps}", "lr_scheduler.lr_warmup_steps=2", *half, *words)
    name = place.run(config.replace(".", "-"))
    done = place.launch("pretrain", "-c", config, "--name", name, *words)
    _require(done.returncode == 0, tail(done))
    rows = place.steps(f"{name}.1")
    _require(len(rows) == steps, f"{len(rows)} steps of {steps} were logged")
    plan: Any = api.plan("pretrain", config, overrides=list(words), environ=place.environ, offline=True)
    sizes = backends.of(plan.recipe).sizes(plan)
    told = f"{(sizes.parameters or 0) / 1e6:,.1f} M parameters, {pace(rows):,.0f} tokens/s"
    if place.cpu:
        return told
    peak = max(row.get("mem_gib") or 0.0 for row in rows)
    estimate = (sizes.memory or 0) / _GIB
    return f"{told}, MFU {_utilization(plan, pace(rows)):.0%}, peak {peak:.1f} GiB, estimated {estimate:.1f}"


def _utilization(plan: Any, tokens: float) -> float:
    model = shape.read(plan.config, plan.visible)
    count = parameters.count(model) if model else None
    peak = gpu_models.peak(plan.profile.gpu) if plan.profile.gpu else None
    if model is None or count is None or not peak:
        return float("nan")
    length = plan.config["dataset"].get("seq_length") or plan.config["dataset"].get("seq_len")
    return float(compute.per_token(model, count, length) * tokens / peak)


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise RuntimeError(otherwise)
