"""Variables at which a job on GPUs ends: what CUDA and torch 2.11 did with each was tried on an H100."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from automodel_launch.checks import gpu_variables
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from tests.workbench import Bench, make_bench, plan_on_slurm


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path).trains(own_recipe=True)


def _on_slurm(bench: Bench, variable: dict[str, str], keys: str = "gpus_per_node = 2\n") -> list[Finding]:
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in variable.items())
    return _of(plan_on_slurm(bench, f"env_vars = {{{table}}}\n{keys}"))


def _of(plan: Plan) -> list[Finding]:
    return [finding for check in gpu_variables.CHECKS for finding in check(plan)]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CUDA_VISIBLE_DEVICES", "0,0", ("shows 0 GPU(s), since one stands there twice, to 2",)),
        ("CUDA_VISIBLE_DEVICES", "-1,0,1", ("shows 0 GPU(s) to 2 processes",)),
        ("CUDA_VISIBLE_DEVICES", "0-7", ("shows 1 GPU(s)", "with commas", "nproc_per_node=1")),
        ("CUDA_VISIBLE_DEVICES", "all", ("shows 0 GPU(s)", "leave it out")),
        ("CUDA_DEVICE_ORDER", "PCI", ("FASTEST_FIRST and PCI_BUS_ID", '"PCI_BUS_ID"')),
        ("TORCH_NCCL_BLOCKING_WAIT", "on", ("true or false", 'TORCH_NCCL_BLOCKING_WAIT = "1"')),
        ("TORCH_NCCL_ENABLE_MONITORING", "off", ("true or false", 'TORCH_NCCL_ENABLE_MONITORING = "0"')),
        ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "true", ("whole number", '"3"')),
        ("NCCL_ASYNC_ERROR_HANDLING", "true", ("whole number",)),
        ("TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC", "ten minutes", ("whole number", '"600"')),
        ("TORCH_NCCL_NAN_CHECK", "", ("true or false",)),
    ],
)
def test_a_value_at_which_the_job_ends_is_found(bench: Bench, name: str, value: str, words: tuple[str, ...]) -> None:
    (finding,) = _on_slurm(bench, {name: value})
    assert finding.level == "error" and "env.toml [p]" in finding.message
    assert [word for word in words if word not in f"{finding.message} {finding.fix}"] == []


def test_values_that_are_taken_are_no_finding(bench: Bench) -> None:
    given = {"CUDA_VISIBLE_DEVICES": " 0, 1,-1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "NCCL_NAN_CHECK": "on"}
    given |= {"TORCH_NCCL_DUMP_ON_TIMEOUT": "No", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": "10min", "NCCL_DEBUG": "LOUD"}
    given |= {"NCCL_SOCKET_IFNAME": "lo", "TORCH_NCCL_SOMETHING_NEW": "on"}
    assert _on_slurm(bench, given) == []
    assert _on_slurm(bench, {"CUDA_VISIBLE_DEVICES": "GPU-8932f937,MIG-41b35bd6"}) == []


def test_a_job_without_gpus_has_no_nccl(bench: Bench) -> None:
    given = {"TORCH_NCCL_BLOCKING_WAIT": "on", "CUDA_DEVICE_ORDER": "x", "CUDA_VISIBLE_DEVICES": "0,0"}
    assert _on_slurm(bench, given, "gpus_per_node = 0\n") == []


def test_an_interface_that_no_other_node_reaches(bench: Bench) -> None:
    several = {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}
    (finding,) = _on_slurm(bench, several, "gpus_per_node = 2\nnodes = 2\n")
    assert "no other node reaches that interface, and there are 2 nodes" in finding.message
    (finding,) = _on_slurm(bench, several, "gpus_per_node = 0\nnodes = 2\n")
    assert "GLOO_SOCKET_IFNAME" in finding.message


def test_an_interface_that_this_machine_has_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 0)
    there = socket.if_nameindex()[0][1]
    for value, level in (("no-such0", ["error"]), (there, []), (f"{there},no-such0", ["error"])):
        bench.env(f'[c]\nexecutor = "local"\nenv_vars = {{GLOO_SOCKET_IFNAME = "{value}"}}\nnproc_per_node = 2\n')
        assert [finding.level for finding in _of(bench.plan(profile="c"))] == level
    monkeypatch.setattr("automodel_launch.remote.gpus.count", lambda: 2)
    for value, level in (("no-such", ["error"]), (there[:1], []), (f"={there[:1]}", ["error"]), ("^docker", [])):
        bench.env(f'[c]\nexecutor = "local"\nenv_vars = {{NCCL_SOCKET_IFNAME = "{value}"}}\nnproc_per_node = 2\n')
        assert [finding.level for finding in _of(bench.plan(profile="c"))] == level
