"""A launch's profile, and its packager, tried on NeMo-Run as a person would write it, for try_real.py."""

from __future__ import annotations

import tarfile
import time
from typing import Any

import tomli

from automodel_launch.errors import LaunchError
from automodel_launch.executors import nemo
from tests.faults import launches
from tests.faults.launches import Launch, Stage


def try_nemo_run(launch: Launch, stage: Stage) -> tuple[str, str]:
    """The executor that the profile's keys make, and the script that it would submit."""
    with launches.shell(launch, stage):
        tables = tomli.loads((stage.here / "env.toml").read_text())
        with_keys = _nemo_script(tables[launch.profile], stage)
        base = tomli.loads(stage.text(f"[x]\n{launches.BASE['site']}"))["x"]
        without = _nemo_script(base, stage)
    if with_keys.startswith("error: "):
        return "NeMo-Run 0.11.1", with_keys.removeprefix("error: ")
    changed = [line for line in with_keys.splitlines() if line.strip() and line not in without.splitlines()]
    return "NeMo-Run 0.11.1", f"silence: the batch script has {'; '.join(changed) or 'nothing of it'}"


def _nemo_script(table: dict[str, Any], stage: Stage) -> str:
    # the launcher's own keys, which have no counterpart in NeMo-Run
    ours = ("executor", "extends", "remote_job_dir", "data_dir", "nproc_per_node", "python", "gpu", "secrets")
    values = {key: value for key, value in table.items() if key not in ours}
    values = {{"mounts": "container_mounts"}.get(key, key): value for key, value in values.items()}
    if values.get("container_image") == "none":
        del values["container_image"]
    try:
        with nemo.experiment("try", "try", stage.here / f"nemo{time.monotonic_ns()}") as (run, exp):
            tunnel = run.LocalTunnel(job_dir=str(stage.here / "jobs"))
            executor = run.SlurmExecutor(**values, tunnel=tunnel, packager=run.Packager())
            exp.add(run.Script(inline="python train.py"), executor=executor, name="task")
            exp.dryrun(log=False, delete_exp_dir=False)
            return str(exp.jobs[0]._dryrun_info.request.materialize())
    except LaunchError as error:
        return f"error: {error.message.partition(': ')[2] or error.message}"


def try_packager(launch: Launch, stage: Stage) -> tuple[str, str]:
    """What NeMo-Run's packager puts into its archive."""
    table = tomli.loads((stage.here / "env.toml").read_text())[launch.profile]
    out = stage.here / "out"
    out.mkdir()
    try:
        with launches.shell(launch, stage), nemo.experiment("try", "try", stage.here / "nemo") as (run, _):
            packager = (
                run.GitArchivePackager(check_uncommitted_changes=False)
                if table.get("packager") == "git"
                else run.PatternPackager(include_pattern=table["code"], relative_path=[str(stage.here)])
            )
            made = packager.package(stage.here, str(out), "code")
    except (LaunchError, SystemExit) as error:
        return "NeMo-Run 0.11.1", f"{type(packager).__name__}: {getattr(error, 'message', error)}"
    with tarfile.open(made) as archive:
        members = [member for member in archive if member.isfile()]
    names, size = [member.name for member in members], sum(member.size for member in members) / 1e6
    shown = ", ".join(names[:6]) or "no file at all"
    return "NeMo-Run 0.11.1", f"silence: {type(packager).__name__} packs {size:.1f} MB: {shown}"
