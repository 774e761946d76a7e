"""Variables of a job on GPUs at which it ends: GPUs that nobody sees, and what NCCL's process groups do not take.

What CUDA makes of its own was tried on an H100 (driver of CUDA 13); values of torch's are those of `getCvarBool` and
`getCvarInt` (torch 2.11, c10d/Utils.hpp), which are read when the first process group is made.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus
from automodel_launch.suggest import nearest

_TORCH = ("TORCH_NCCL_", "NCCL_")  # the second is an older form of some of them
_WHETHER = ("y", "yes", "1", "t", "true", "n", "no", "0", "f", "false")
_SWITCHES = (
    *("BLOCKING_WAIT", "DUMP_ON_TIMEOUT", "PROPAGATE_ERROR", "DESYNC_DEBUG", "ENABLE_TIMING", "ENABLE_MONITORING"),
    *("RETHROW_CUDA_ERRORS", "CUDA_EVENT_CACHE", "NAN_CHECK", "AVOID_RECORD_STREAMS", "HIGH_PRIORITY"),
    "LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN",
)
_COUNTS = (
    *("ASYNC_ERROR_HANDLING", "HEARTBEAT_TIMEOUT_SEC", "TRACE_BUFFER_SIZE", "WAIT_TIMEOUT_DUMP_MILSEC"),
    *("COORD_CHECK_MILSEC", "RANKS_PER_ROOT"),
)
_OLDER = ("BLOCKING_WAIT", "DESYNC_DEBUG", "ENABLE_TIMING", "ASYNC_ERROR_HANDLING")
_ORDERS = ("FASTEST_FIRST", "PCI_BUS_ID")
_ORDER, _VISIBLE = "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"
_NCCL_INTERFACE, _GLOO_INTERFACE = "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"


def gpus_seen(plan: Plan) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES leaves fewer GPUs than there are processes; each needs one of its own."""
    value = plan.profile.env_vars.get(_VISIBLE)
    if value is None or plan.recipe.launch != "torchrun" or not _has_gpus(plan):
        return
    seen = len(gpus.shown(value))
    why = ", since one stands there twice," if seen < len(gpus.named(value)) else ""
    if seen < plan.processes_per_node:
        message = (
            f"env_vars.{_VISIBLE} = {value!r} ({_source(plan, _VISIBLE)}) shows {seen} GPU(s){why} to"
            f" {plan.processes_per_node} processes a node, each of which needs one of its own."
        )
        fix = "leave it out: a job sees its own GPUs; or numbers with commas between them"
        less = f"; or run.env.nproc_per_node={seen}" if seen else ""
        yield Finding("error", "too-few-gpus", message, fix + less)


def order(plan: Plan) -> Iterator[Finding]:
    """CUDA starts with none but its two orders."""
    value = plan.profile.env_vars.get(_ORDER)
    if value and value not in _ORDERS and _has_gpus(plan):
        near = nearest(value, _ORDERS) or _ORDERS[-1]
        why = f"CUDA knows {' and '.join(_ORDERS)}, and starts with no other"
        yield _bad(plan, _ORDER, why, f'env_vars.{_ORDER} = "{near}"')


def torch(plan: Plan) -> Iterator[Finding]:
    """torch reads them when it makes the first process group of NCCL, and stops at a value that is none."""
    if plan.world_size == 1 or not _has_gpus(plan):
        return
    for name, value in plan.profile.env_vars.items():
        prefix = next((one for one in _TORCH if name.startswith(one)), None)
        bare = name.removeprefix(prefix or name)
        if prefix == _TORCH[1] and bare not in _OLDER:
            continue
        if bare in _SWITCHES and value.lower() not in _WHETHER:
            right = "0" if value.lower() in ("off", "disable", "disabled", "none", "") else "1"
            yield _bad(plan, name, "torch takes 1 or 0, true or false, yes or no", f'env_vars.{name} = "{right}"')
        elif bare in _COUNTS and not re.match(r"\s*[+-]?\d", value):
            fix = f'env_vars.{name} = "{3 if bare == "ASYNC_ERROR_HANDLING" else 600}", say; or take it out'
            yield _bad(plan, name, "torch takes a whole number", fix)


def interfaces(plan: Plan) -> Iterator[Finding]:
    """Network interfaces that no other node reaches, or, of this machine, that are not there."""
    names = (_NCCL_INTERFACE,) if _has_gpus(plan) else (_GLOO_INTERFACE,)
    for name in names if plan.world_size > 1 and plan.recipe.launch == "torchrun" else ():
        value = plan.profile.env_vars.get(name, "")
        if value.lstrip("=") == "lo" and plan.nodes > 1:
            why = f"no other node reaches that interface, and there are {plan.nodes} nodes"
            yield _bad(
                plan, name, why, "the interface between the nodes (`ip -br addr` on one of them); or take it out"
            )
        elif value and plan.here and not _is_there(name, value):
            why = f"this machine has {', '.join(_there())}"
            yield _bad(plan, name, why, "one of these; or take it out")


def _is_there(name: str, value: str) -> bool:
    """One of the names that stand there is an interface's; NCCL takes the beginning of a name, and ^ for all others."""
    if value.startswith("^") or not _there():
        return True
    if name == _GLOO_INTERFACE:
        return all(one in _there() for one in value.split(","))
    whole = value.startswith("=")
    given = [one for one in value.lstrip("=").split(",") if one]
    return any(there == one if whole else there.startswith(one) for one in given for there in _there())


def _there() -> list[str]:
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        return []


def _has_gpus(plan: Plan) -> bool:
    return bool(gpus.of_a_node(plan.here, plan.profile.gpus_per_node))


def _bad(plan: Plan, name: str, why: str, fix: str) -> Finding:
    value = plan.profile.env_vars[name]
    message = f"env_vars.{name} = {value!r} ({_source(plan, name)}): {why}; the job would stop at it."
    return Finding("error", "bad-variable", message, fix)


def _source(plan: Plan, name: str) -> str:
    return str(plan.profile_sources.get(f"env_vars.{name}", plan.profile_name))


CHECKS = (gpus_seen, order, torch, interfaces)
