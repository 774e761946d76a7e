"""The training's command line, and what the agent adds to its environment."""

from __future__ import annotations

import glob
import os
import shutil
from typing import Mapping

import contract

from .spec import Spec
from .stall import before_first_s

RESTARTS = 3  # within an attempt, under ft_launcher; what fails more often is the next attempt's, on other nodes
_FT_MODULE = "nvidia_resiliency_ext.fault_tolerance.launcher"
_INFINIBAND = "/sys/class/infiniband"
_SHUTDOWN_S = 10  # what torchrun gives the other ranks once one has failed: they wait in a collective that cannot end


def find_python(python: str, environ: Mapping[bytes, bytes]) -> str | None:
    """The interpreter as the training's own PATH finds it."""
    return shutil.which(python, path=os.fsdecode(environ.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin")))


def training_command(spec: Spec, python: str, agent: str, directory: str, node: int, head: str | None) -> list[str]:
    """torchrun or ft_launcher with the agent as its script; its worker itself where one process a node is wanted."""
    worker = [agent, "worker", spec.script_path, *spec.args]
    if spec.launch == "python":
        return [python, "-u", *worker]
    if spec.launch == contract.FT_LAUNCHER:
        return [python, "-m", _FT_MODULE, *_ft_options(spec, directory, node, head), *worker]
    # "--" would be taken for the script by older torchruns: the agent's path is absolute and starts with a slash
    return [python, "-m", "torch.distributed.run", *_torchrun_options(spec, directory, node, head), *worker]


def _torchrun_options(spec: Spec, directory: str, node: int, head: str | None) -> list[str]:
    options = ["--nnodes", str(spec.nnodes), "--nproc-per-node", str(spec.nproc_per_node), "--max-restarts", "0"]
    options += ["--rdzv-id", spec.rendezvous.id, "--log-dir", os.path.join(directory, "torchelastic")]
    if spec.nnodes == 1:
        endpoint = f"127.0.0.1:{spec.rendezvous.port or 0}"
        # --standalone would look up the host's own name, which need not resolve
        return [*options, "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--local-addr", "127.0.0.1"]
    master = ["--master-addr", str(head), "--master-port", str(spec.rendezvous.port)]
    return [*options, "--rdzv-backend", "static", "--node-rank", str(node), *master]


def _ft_options(spec: Spec, directory: str, node: int, head: str | None) -> list[str]:
    """Of ft_launcher 0.4.1: it takes the rendezvous c10d only, and SIGKILLs a rank that sends no heartbeat in time."""
    options = ["--nnodes", str(spec.nnodes), "--nproc-per-node", str(spec.nproc_per_node)]
    options += ["--max-restarts", str(RESTARTS), "--workers-stop-timeout", str(_SHUTDOWN_S)]
    first_s, later_s = heartbeat_timeouts(spec)
    options += ["--ft-initial-rank-heartbeat-timeout", str(first_s), "--ft-rank-heartbeat-timeout", str(later_s)]
    # it looks for the node's InfiniBand devices, with a traceback where there are none
    options += ["--ft-enable-nic-monitor", str(os.path.isdir(_INFINIBAND)).lower()]
    options += ["--rdzv-id", spec.rendezvous.id, "--log-dir", os.path.join(directory, "torchelastic")]
    endpoint = f"{head or '127.0.0.1'}:{spec.rendezvous.port or 0}"
    options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint]
    if spec.nnodes == 1:
        return [*options, "--local-addr", "127.0.0.1"]
    # by default it compares host names, which need not be the ones that Slurm knows
    return [*options, "--rdzv-conf", f"is_host={int(node == 0)}"]


def heartbeat_timeouts(spec: Spec) -> tuple[float, float]:
    """Seconds until ft_launcher kills a rank: from its connection to its first heartbeat, and between two of them."""
    if spec.stall_s is None or isinstance(spec.stall_s, str):
        return float("inf"), float("inf")
    return before_first_s(spec.stall_s), spec.stall_s


def training_environment(
    spec: Spec, environ: Mapping[bytes, bytes], directory: str, node: int, head: str | None
) -> dict[bytes, bytes]:
    """The environment of torchrun, ft_launcher or the worker itself; `directory` is the agent's private one."""
    result = dict(environ)
    result[contract.AGENT_DIR_VAR.encode()] = os.fsencode(directory)
    result[b"PWD"] = os.fsencode(spec.directory)
    if spec.launch == "python":
        result.update(python_environment(spec, node, head))
        return result
    result.update(torchrun_environment(environ))
    if spec.restarts:
        result[contract.LAUNCHER_VAR.encode()] = contract.FT_LAUNCHER.encode()
    threads = omp_threads(spec, environ)
    if threads is not None:
        result[b"OMP_NUM_THREADS"] = str(threads).encode()
    return result


def torchrun_environment(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """torchrun is started with its signals ignored (see training.py) and must not install handlers of its own again."""
    added = {b"PET_SIGNALS_TO_HANDLE": b"SIGQUIT", b"TORCHELASTIC_SIGNALS_TO_HANDLE": b"SIGQUIT"}
    if b"TORCH_ELASTIC_SHUTDOWN_TIMEOUT" not in environ:
        added[b"TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(_SHUTDOWN_S).encode()
    return added


def python_environment(spec: Spec, node: int, head: str | None) -> dict[bytes, bytes]:
    """What torchrun would have set, for one process a node."""
    values = {
        "RANK": node,
        "LOCAL_RANK": 0,
        "GROUP_RANK": node,
        "WORLD_SIZE": spec.nnodes,
        "LOCAL_WORLD_SIZE": 1,
        "GROUP_WORLD_SIZE": spec.nnodes,
    }
    result = {name.encode(): str(value).encode() for name, value in values.items()}
    if spec.rendezvous.port is not None:
        result[b"MASTER_ADDR"] = os.fsencode(head or "127.0.0.1")
        result[b"MASTER_PORT"] = str(spec.rendezvous.port).encode()
    return result


def omp_threads(spec: Spec, environ: Mapping[bytes, bytes]) -> int | None:
    """Threads a rank where torchrun would force 1, which halves the speed of training on CPUs; None: leave it alone."""
    if spec.launch == "python" or spec.nproc_per_node == 1 or b"OMP_NUM_THREADS" in environ or gpus_visible(environ):
        return None
    return max(1, cpus() // spec.nproc_per_node)


def gpus_visible(environ: Mapping[bytes, bytes]) -> bool:
    """Whether the training will see a GPU."""
    chosen = environ.get(b"CUDA_VISIBLE_DEVICES")
    if chosen is not None and chosen.strip() in (b"", b"-1", b"NoDevFiles"):
        return False
    return bool(glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/kfd") or os.path.exists("/dev/dxg"))


def cpus() -> int:
    """CPUs this process may use, a container's quota included."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count
