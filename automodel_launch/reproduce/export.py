"""A plan as a directory, or a script with a folder, that runs where there is no launcher."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract, executors
from automodel_launch.backends import trackers
from automodel_launch.errors import ProfileError, UsageError
from automodel_launch.executors import exported
from automodel_launch.frozen import thaw
from automodel_launch.launch import planning
from automodel_launch.plan import gitstate, packaging
from automodel_launch.plan.plan import Plan
from automodel_launch.workspace import Workspace


def directory(plan: Plan, target: str, workspace: Workspace, environ: Mapping[str, str] | None = None) -> str:
    """Write everything that the plan's job needs into a new directory; the command that starts it.

    Raises:
        UsageError: the directory is there, and not empty; or it cannot be written.
        ProfileError: the plan's executor has no such form.
    """
    marked = _marked(plan, os.environ if environ is None else environ)
    name, text = executors.get(plan.executor).exported(marked)
    folder = _new(target)
    job, run = folder / exported.JOB, folder / exported.RUN
    git = gitstate.record(workspace.root, (file.source for file in plan.files), workspace.env_file)
    texts = {
        **marked.texts,
        **({} if any(file.path == contract.GIT_COMMIT for file in plan.files) else git),
        contract.SCRIPT: marked.script,
        contract.PLAN: json.dumps(marked.document(), indent=1, ensure_ascii=False) + "\n",
    }
    try:
        with packaging.on_disk(plan.files) as sources:
            _put(job, sources, texts)
        packaging.verify(plan.files)
        _put(run, {}, _of_the_run(plan))
        _write(folder / name, text, 0o755)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}.", "another place for --export") from error
    return f"{'sbatch' if name == contract.SCRIPT else 'bash'} {shlex.quote(f'{folder}/{name}')}"


def plain(plan: Plan, target: str, environ: Mapping[str, str] | None = None) -> str:
    """Write a batch script of torchrun alone, and beside it the folder that it reads; the command that starts it.

    Raises:
        UsageError: the file is there, or its name is no script's.
        ProfileError: the plan's executor has no such form.
    """
    path = Path(target).expanduser()
    if path.suffix != ".sh" or not re.fullmatch(r"[\w.@+,=-]+", path.name):
        raise UsageError(f"--export-plain {target}: a script's name is wanted.", "--export-plain job.sh")
    files = f"{path.stem}.files"
    marked = _marked(plan, os.environ if environ is None else environ)
    text = executors.get(plan.executor).plain(marked, files)
    for taken in (path, path.parent / files):
        if taken.exists() or taken.is_symlink():
            raise UsageError(f"{taken} is there already, and is kept.", "another name, or remove it")
    try:
        with packaging.on_disk(plan.files) as sources:
            agents = ("node_agent.py", "node_agent.sh", "node_agent_lib/")
            own = {at: source for at, source in sources.items() if not at.startswith(_starts(agents))}
            _put(path.parent / files, own, {contract.CONFIG: marked.texts[contract.CONFIG]})
        packaging.verify(plan.files)
        _write(path, text, 0o755)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}.", "another place") from error
    return f"sbatch {shlex.quote(str(path))}"


def _starts(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{contract.RECIPES}/{name}" for name in names)


def _marked(plan: Plan, environ: Mapping[str, str]) -> Plan:
    """The same plan with marks in place of its directories and its number."""
    fault = plan.unset if plan.profile.secrets or plan.profile.env else ()
    lacking = [name for name in fault if name in plan.profile.env]
    if lacking:
        raise ProfileError(f"{lacking[0]} is not set here, and `env` would take its value.", f"export {lacking[0]}=...")
    profile, config = plan.profile, _moved(thaw(plan.config), plan)
    seen = [mount for mount in plan.mounts if mount.source == plan.job_root and mount.text not in profile.mounts]
    others = f"{plan.job_root}/" in json.dumps(config, ensure_ascii=False)
    if seen and others:  # data of other runs: what is exported has a job root of its own
        profile = profile.model_copy(update={"mounts": (*profile.mounts, f"{plan.job_root}:{plan.job_root}")})
    draft = replace(
        plan,
        job_root=exported.ROOT,
        profile=profile,
        config=config,
        data=_moved(thaw(plan.data), plan),
    )
    marked = planning.with_job_id(draft, f"{plan.run_name}.{exported.NUMBER}", environ)
    agent = thaw(marked.agent)
    agent["env"] |= _tracked(marked)
    written = json.dumps({**agent, "python": exported.PYTHON}, indent=1, ensure_ascii=False) + "\n"
    return replace(marked, agent=agent, texts={**thaw(marked.texts), contract.AGENT: written})


def _moved(value: Any, plan: Plan) -> Any:
    """Values in which the run's directory stands, with the mark in its place."""
    if isinstance(value, Mapping):
        return {key: _moved(entry, plan) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(entry, plan) for entry in value]
    if not isinstance(value, str):
        return value
    return re.sub(rf"{re.escape(plan.run_dir)}(?![\w.-])", f"{exported.ROOT}/{plan.run_name}", value)


def _tracked(plan: Plan) -> dict[str, str]:
    """Variables of trackers that depend on where the run is."""
    uses = [*backends.of(plan.recipe).trackers(plan.config), *trackers.named(plan.profile.track)]
    here, elsewhere = (trackers.environment(uses, plan.run_name, plan.run_dir, place) for place in ("a", "b"))
    own = set(plan.profile.env_vars)
    different = [name for name, value in here.items() if elsewhere[name] != value and name not in own]
    return dict.fromkeys(different, f"{plan.run_name[:50]}-{exported.TRACKER}")


def _of_the_run(plan: Plan) -> dict[str, str]:
    """What the first job of a run writes down of it: a further one with other data is refused by the job itself."""
    trained = {"trained": thaw(plan.trained), "world_size": plan.world_size}
    texts = {contract.RUN: json.dumps(trained, indent=1)}
    if plan.data.get("digest"):
        data = {key: thaw(plan.data)[key] for key in ("digest", "rows")}
        told = {**data, "job_id": f"{plan.run_name}.1", "time": time.time(), "before": []}
        texts[contract.DATA] = json.dumps(told) + "\n"
    return texts


def _new(target: str) -> Path:
    folder = Path(target).expanduser().absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"--export {target}: it is there, and is not empty.", "a new directory, or remove that one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--export {target}: cannot be made: {error.strerror}.", "another place") from error
    return folder


def _put(folder: Path, sources: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    for name, source in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, text)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(mode)
