"""The checks' arithmetic against the functions of AutoModel that would refuse, or not, in the job."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from automodel_launch import checks
from automodel_launch.backends.automodel import distributed
from automodel_launch.backends.automodel.model import parallelism
from automodel_launch.backends.automodel.model.memory import Setting, layer_activations
from automodel_launch.backends.automodel.model.parallelism import Layout
from automodel_launch.backends.automodel.model.shape import Shape
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench

# not importorskip, which would import it while tests are collected, in each of xdist's workers
pytestmark = pytest.mark.skipif(find_spec("nemo_automodel") is None, reason="needs AutoModel")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _errors(plan: Plan, *codes: str) -> list[str]:
    return [f.message for f in checks.run(plan) if f.level == "error" and f.code in codes]


def _refuses(call: Any) -> bool:
    try:
        call()
    except (ValueError, AssertionError):
        return True
    return False


SIZES = list(itertools.product((1, 2, 3, 8), (1, 2), (1, 2), (1, 2, 3, 8), (1, 2, 4)))  # tp, cp, pp, ep, replicas


@pytest.mark.parametrize("world", [1, 6, 8, 16])
def test_meshes(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    """384 combinations: a layout here is a mesh there, of the same numbers."""
    from nemo_automodel.components.distributed import mesh_utils
    from nemo_automodel.components.distributed.mesh import ParallelismSizes

    made: dict[str, Any] = {}
    monkeypatch.setattr(mesh_utils, "_init_named_mesh", lambda spec, **_: made.update(shape=spec.shape))
    monkeypatch.setattr(mesh_utils, "_create_moe_mesh", lambda _, **sizes: made.update(sizes))
    for tp, cp, pp, ep, replicas in SIZES:
        made.clear()
        sizes = {"tp_size": tp, "cp_size": cp, "pp_size": pp, "ep_size": ep, "dp_replicate_size": replicas}
        try:
            mesh_utils._create_fsdp2_device_mesh(ParallelismSizes(**sizes), world_size=world)
        except ValueError:
            made.clear()
        mesh = distributed.mesh({"distributed": sizes})
        assert mesh is not None
        layout = parallelism.layout(mesh, world)
        if layout is not None and replicas > 1 and replicas >= layout.dp:
            layout = None  # checks/parallel.py's own rule
        assert (layout is not None) == bool(made), sizes
        if layout is not None:
            assert made["shape"] == (pp, replicas, layout.dp // replicas, cp, tp)
            assert layout.expert_shards == made.get("ep_shard_size", layout.expert_shards)


@pytest.mark.parametrize(
    ("world", "sizes"),
    [
        (8, {"tp_size": 3}),
        (8, {"tp_size": 2, "cp_size": 2}),
        (8, {"dp_replicate_size": 8}),
        (8, {"dp_replicate_size": 4}),
        (8, {"ep_size": 3}),
        (8, {"ep_size": 8, "tp_size": 2}),
        (8, {"ep_size": 8, "pp_size": 2, "pipeline": {}}),
    ],
)
def test_sizes_are_refused_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, world: int, sizes: dict[str, Any]
) -> None:
    from nemo_automodel.components.distributed import mesh_utils
    from nemo_automodel.recipes._dist_utils import parse_distributed_section

    monkeypatch.setattr(mesh_utils, "_init_named_mesh", lambda *_, **__: None)
    monkeypatch.setattr(mesh_utils, "_create_moe_mesh", lambda *_, **__: None)

    def theirs() -> None:
        parsed = parse_distributed_section(dict(sizes))
        mesh_utils._create_device_meshes(parsed["strategy_config"], parsed["parallelism_sizes"], world_size=world)

    plan = bench.planned(
        f"step_scheduler: {{local_batch_size: 2}}\ndistributed: {json.dumps(sizes)}\n",
        f"run.env.nproc_per_node={world}",
    )
    ours = _errors(plan, "world-size", "dp-replicate", "expert-parallel", "strategy", "pipeline")
    assert bool(ours) is _refuses(theirs), ours


@pytest.mark.parametrize(
    "section",
    [
        {"strategy": "ddp", "tp_size": 2},
        {"strategy": "ddp", "dp_replicate_size": 2},
        {"strategy": "ddp"},
        {"strategy": "megatron_fsdp", "tp_size": 2},
        {"strategy": "mfsdp", "pp_size": 2, "pipeline": {}},
        {"strategy": "megatron-fsdp", "ep_size": 2},
        {"strategy": "FSDP2", "pp_size": 2},
    ],
)
def test_strategies(bench: Bench, monkeypatch: pytest.MonkeyPatch, section: dict[str, Any]) -> None:
    from nemo_automodel.components.distributed import mesh_utils
    from nemo_automodel.recipes._dist_utils import parse_distributed_section

    monkeypatch.setattr(mesh_utils, "_init_named_mesh", lambda *_, **__: None)

    def theirs() -> None:
        parsed = parse_distributed_section(dict(section))
        mesh_utils._create_device_meshes(parsed["strategy_config"], parsed["parallelism_sizes"], world_size=4)

    text = f"step_scheduler: {{local_batch_size: 2}}\ndistributed: {json.dumps(section)}\n"
    plan = bench.planned(text, "run.env.nproc_per_node=4")
    assert bool(_errors(plan, "strategy", "pipeline")) is _refuses(theirs)


@pytest.mark.parametrize(
    ("world", "section"),
    [
        (2, {"global_batch_size": 16, "local_batch_size": 2}),
        (2, {"global_batch_size": 18, "local_batch_size": 2}),
        (4, {"global_batch_size": 2, "local_batch_size": 1}),
        (2, {}),
        (3, {}),
        (2, {"local_batch_size": 0}),
        (2, {"max_steps": 0}),
        (2, {"num_epochs": 0}),
        (2, {"ckpt_every_steps": 0}),
        (2, {"ckpt_every_steps": None}),
        (2, {"val_every_steps": 0}),
        (2, {"val_every_steps": 1}),
        (2, {"gc_every_steps": 0}),
        (2, {"log_remote_every_steps": 0}),
    ],
)
def test_steps(bench: Bench, world: int, section: dict[str, Any]) -> None:
    from nemo_automodel.components.training.step_scheduler import StepSchedulerConfig

    def theirs() -> None:
        given = {"max_steps": 10, **section}
        local = given.pop("local_batch_size", 1)
        StepSchedulerConfig(**given, preemption_signal=None).build(None, world, local)

    plan = bench.planned(f"step_scheduler: {json.dumps(section)}\n", f"run.env.nproc_per_node={world}")
    assert bool(_errors(plan, "batch-math", "not-positive")) is _refuses(theirs)


@pytest.mark.parametrize(
    "section",
    [
        {"lr_decay_style": "cosine"},
        {"lr_warmup_steps": 99},
        {"lr_warmup_steps": 100},
        {"lr_decay_steps": 0},
        {"lr_decay_steps": 5},
        {"min_lr": 0.001},
        {"min_lr": 0.0011},
        {"min_lr": -1.0},
        {"init_lr": 0.002},
        {"max_lr": 0.0005, "min_lr": 0.0007},
        {"max_lr": 0.00005},
        {"lr_decay_style": "constant"},
        {"lr_decay_style": "inverse-square-root"},
        {"lr_decay_style": "WSD"},
        {"lr_decay_style": "WSD", "wsd_decay_steps": 10},
        {"lr_decay_style": "WSD", "wsd_decay_steps": 10, "lr_wsd_decay_style": "minus_sqrt"},
    ],
)
def test_schedules(bench: Bench, section: dict[str, Any]) -> None:
    """A schedule that is refused at once, or at one of its hundred steps. Unknown styles: tests of checks/schema.py."""
    from nemo_automodel.components.optim.optimizer import LRSchedulerConfig
    from torch import nn
    from torch.optim import AdamW

    def theirs() -> bool:
        optimizer = AdamW(nn.Linear(1, 1).parameters(), lr=1e-3)
        try:
            steps = SimpleNamespace(epoch_len=None, max_steps=100)
            (schedule,) = LRSchedulerConfig(**section).build(optimizer, steps)
            for _ in range(100):
                schedule.step(1)
        except Exception:  # the style's error is a bare Exception
            return True
        return False

    texts = {
        "step_scheduler": {"max_steps": 100},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "lr_scheduler": section,
    }
    plan = bench.planned("\n".join(f"{key}: {json.dumps(value)}" for key, value in texts.items()))
    assert bool(_errors(plan, "lr-style", "lr-range", "lr-length")) is theirs()


# With fewer layers than stages AutoModel's split fails, and not this function.
STAGES = [
    (schedule, layers, each, rounding, stages)
    for schedule, least in (("1f1b", 1), ("Interleaved1F1B", 2))
    for layers, each, rounding, stages in itertools.product((4, 6), (1, 2, 3, 6), (None, "up", "down"), (2, 4))
    if layers >= stages * least
]


@pytest.mark.parametrize(("schedule", "layers", "each", "rounding", "stages"), STAGES)
def test_pipeline_stages(
    bench: Bench, schedule: str, layers: int, each: int, rounding: str | None, stages: int
) -> None:
    from nemo_automodel.components.distributed.pipelining.functional import calculate_virtual_stages

    pipeline = {
        "layers_per_stage": each,
        "pp_schedule": schedule,
        "round_virtual_stages_to_pp_multiple": rounding,
    }
    one = schedule == "1f1b"
    plan = _pipelined(bench, stages, layers, pipeline)
    ours = _errors(plan, "pipeline")
    assert bool(ours) is _refuses(lambda: calculate_virtual_stages(layers, each, stages, one, rounding))


def _pipelined(bench: Bench, stages: int, layers: int, pipeline: dict[str, Any]) -> Plan:
    config = {
        "step_scheduler": {"local_batch_size": 4, "global_batch_size": 4},
        "distributed": {"pp_size": stages, "pipeline": pipeline},
        "model": {"config": {"_target_": "transformers.LlamaConfig", "hidden_size": 8, "num_hidden_layers": layers}},
    }
    text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items())
    return bench.planned(text, f"run.env.nproc_per_node={stages}")


@pytest.mark.parametrize(
    "name",
    [*distributed.ONE_STAGE, *distributed.MORE_STAGES, "1f1b", "gpipe", "interleaved_1f1b", "zero_bubble", "dfs"],
)
def test_names_of_pipeline_schedules(bench: Bench, name: str) -> None:
    from torch.distributed.pipelining.schedules import PipelineScheduleSingle, get_schedule_class

    refused = _refuses(lambda: get_schedule_class(name))
    assert bool(_errors(_pipelined(bench, 2, 8, {"pp_schedule": name}), "pipeline")) is refused
    if not refused and name in (*distributed.ONE_STAGE, *distributed.MORE_STAGES):
        assert issubclass(get_schedule_class(name), PipelineScheduleSingle) is (name in distributed.ONE_STAGE)


@pytest.mark.parametrize("compute", [2, 4])
def test_activations_of_automodels_gpt2(compute: int) -> None:
    """Without dropout, so that attention takes a kernel that keeps no score matrix on the CPU, as it does on GPUs."""
    import torch
    from nemo_automodel.components.models.gpt2 import build_gpt2_model

    def saved(layers: int) -> int:
        model = build_gpt2_model(vocab_size=128, n_positions=128, n_embd=64, n_layer=layers, n_head=4)
        for block in model.h:
            block.attn.attn_dropout = 0.0  # it is on in eval() too
        model.to(torch.bfloat16 if compute == 2 else torch.float32)
        own = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
        kept: dict[int, Any] = {}

        def pack(tensor: Any) -> Any:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(torch.zeros(2, 128, dtype=torch.long))
        assert output is not None
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    shape = Shape("gpt2", {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 128}, "model")
    setting = Setting(Layout(1, 1, 1, 1, 1, 1, 1), "fsdp2", 128, 2, 1, stored=4, compute=compute, recompute="none")
    assert layer_activations(shape, setting) == pytest.approx((saved(5) - saved(1)) / 4, rel=0.1)


def test_fsdp2_keeps_whole_gradients_until_the_last_micro_batch(tmp_path: Path) -> None:
    """What the estimate's largest surprise rests on: unsharded, and in reduce_dtype."""
    program = """
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from nemo_automodel.components.distributed.config import FSDP2Config
import sys
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
layer = torch.nn.Linear(8, 8, bias=False)
fully_shard(layer, mesh=init_device_mesh("cpu", (1,)), mp_policy=FSDP2Config().mp_policy)
from nemo_automodel.components.distributed.utils import get_sync_ctx
with get_sync_ctx(layer, False, FSDP2Config().defer_fsdp_grad_sync):
    layer(torch.ones(1, 8, dtype=torch.bfloat16)).float().sum().backward()
(parameter,) = layer._get_fsdp_state()._fsdp_param_group.fsdp_params
kept = parameter.unsharded_accumulated_grad
print(kept.dtype, tuple(kept.shape), layer.weight.grad)
dist.destroy_process_group()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "store")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[0] == "torch.float32 (8, 8) None", done.stderr
