"""The node agent's spec, the same for every executor; recipes/node_agent.py documents and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from automodel_launch import backends, contract
from automodel_launch.backends import trackers
from automodel_launch.errors import ProfileError
from automodel_launch.executors.containers import container
from automodel_launch.plan import secrets
from automodel_launch.profile import secret_names

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan

HEARTBEAT_S = 10.0


def spec(
    plan: Plan,
    environ: Mapping[str, str],
    *,
    python: str,
    port: int | None,
    stop_with_parent: bool,
    inherits: bool = True,
    chain: dict[str, Any] | None = None,
    spares: int = 0,
    venv_archive: str | None = None,
) -> dict[str, Any]:
    """agent.json for a plan. `python` runs the training; `port` is the rendezvous port, None where any free one does.

    `stop_with_parent`: the job ends when the process that started the agent is gone. `inherits`: it has this shell's
    environment; else the variables that `env` names are copied into the spec, and `secrets` into a file beside it.
    `chain`: how many attempts the job may have, None for one. `spares`: nodes that it has beside those that train.
    `venv_archive`: what each node unpacks, and takes the Python from.

    Raises:
        ProfileError: a variable that no job can have.
    """
    profile = plan.profile
    forwarded = _forwarded(plan, environ)
    backend = backends.of(plan.recipe)
    script = plan.recipe.path
    return {
        "schema": contract.AGENT_SCHEMA,
        "job_id": plan.job_id,
        "run_name": plan.run_name,
        "job_dir": plan.job_dir,
        "run_dir": plan.run_dir,
        "code_dir": f"{plan.job_dir}/{contract.CODE}",
        "python": python,
        "launch": "ft" if starts_with_ft(plan) else plan.recipe.launch,
        "script": f"recipes/{script.name}" if _is_shipped(plan, script.name) else script.name,
        "args": ["--config", f"{plan.job_dir}/{contract.CONFIG}"],
        "nnodes": plan.nodes,
        "nproc_per_node": plan.processes_per_node,
        "rendezvous": {"id": plan.job_id, "port": port, **({"fixed": True} if profile.rdzv_port else {})},
        "env": {
            contract.JOB_ID_VAR: plan.job_id,
            contract.JOB_DIR_VAR: plan.job_dir,
            contract.RUN_DIR_VAR: plan.run_dir,
            **({contract.HIDDEN_VAR: ",".join(profile.secrets)} if profile.secrets else {}),
            "TQDM_DISABLE": "1",  # AutoModel's bar would stand before every line of the log
            **({contract.RANK_TIMES_VAR: str(profile.rank_times)} if profile.rank_times else {}),
            **_trackers(plan, environ if inherits else {}),
            **({} if inherits else forwarded),
            **profile.env_vars,
        },
        "setup_lines": profile.setup,
        "startup_commands": list(profile.startup_commands),
        "secrets_file": f"{plan.job_dir}/{contract.SECRETS}" if profile.secrets and not inherits else None,
        "stop_grace_s": float(profile.stop_grace),
        "heartbeat_s": HEARTBEAT_S,
        "stop_with_parent": stop_with_parent,
        "stall_s": stall_seconds(profile.stall),
        "chain": chain,
        "max_nan_steps": profile.max_nan_steps,
        **({"notify": list(profile.notify)} if profile.notify else {}),
        **({"track": list(profile.track)} if profile.track else {}),
        **({"spares": spares} if spares else {}),
        **({"venv_archive": venv_archive} if venv_archive else {}),
        **({"agent_python": profile.agent_python} if profile.agent_python and not inherits else {}),
        "backend": plan.recipe.backend or contract.NO_BACKEND,
        "checkpoint_dir": backend.checkpoint_dir(plan.config, plan.run_dir),
        "workdir": container.workdir(plan) if plan.image else None,
        **_data(plan),
    }


def _trackers(plan: Plan, inherited: Mapping[str, str]) -> dict[str, str]:
    uses = [*backends.of(plan.recipe).trackers(plan.config), *trackers.named(plan.profile.track)]
    place = f"{plan.executor} {plan.run_dir}"
    given = {*inherited, *plan.profile.secrets}
    return trackers.environment(uses, plan.run_name, plan.run_dir, place, given)


def _data(plan: Plan) -> dict[str, Any]:
    """What the agent compares with the run's record before it starts a rank; nothing where no data are named."""
    if not plan.data:
        return {}
    data = plan.data
    return {"data": {"named": data["named"], "allow": data["allow"], "caches": data["caches"]}}


def starts_with_ft(plan: Plan) -> bool:
    """Whether ft_launcher takes torchrun's place; a recipe that torchrun does not start has no use for either."""
    return plan.profile.launcher == "ft" and plan.recipe.launch == "torchrun"


def stall_seconds(stall: str | None) -> float | str | None:
    """Of a time that the schema has let through, such as "15m"; without one it is told from the run itself."""
    if stall in (None, contract.STALL_AUTO):
        return contract.STALL_AUTO
    if stall == "off":
        return None
    return float(stall[:-1]) * {"s": 1, "m": 60, "h": 3600}[stall[-1]]


def _is_shipped(plan: Plan, name: str) -> bool:
    return any(file.path == f"{contract.RECIPES}/{name}" and file.source == plan.recipe.path for file in plan.files)


def _forwarded(plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Values behind `env`; names and values that the agent could not set are refused here, not in the queue."""
    profile, sources = plan.profile, plan.profile_sources
    for name, value in profile.env_vars.items():
        key = f"env_vars ({sources.get(f'env_vars.{name}', plan.profile_name)})"
        secret_names.check_name(name, key)
        if "\0" in value:
            raise ProfileError(f"{key}: {name}: no variable can hold a NUL character.")
    key = f"secrets ({sources.get('secrets', plan.profile_name)})"
    for name in profile.secrets:
        secret_names.check_name(name, key)
        if name in profile.env or name in profile.env_vars:
            raise ProfileError(f"{key}: {name} stands in env or env_vars too, where its value would be seen.")
    if any("\0" in line for line in profile.shell_lines):
        raise ProfileError("setup_lines, startup_commands: no shell line can hold a NUL character.")
    return secrets.forwarded(profile.env, environ, f"env ({sources.get('env', plan.profile_name)})")
