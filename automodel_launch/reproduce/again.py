"""The plan of a job that has run, made once more: its own code, config and profile, as a run of another name."""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automodel_launch import contract
from automodel_launch.config import merge, yamlio
from automodel_launch.config.dotted import flatten
from automodel_launch.errors import ClusterError, JobError, PlanRefused
from automodel_launch.jobs import rundir
from automodel_launch.jobs.jobdir import parse
from automodel_launch.launch import planning
from automodel_launch.launch.origin import Origin
from automodel_launch.plan import naming, packaging, recipes
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.plan import Mode, Plan
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile.profiles import EnvFile
from automodel_launch.remote.filesystem import LOCAL, RemoteFileSystem
from automodel_launch.reproduce.left import Left
from automodel_launch.workspace import Workspace

_SUFFIX = "-again"
_RUN = "@run"  # stands in run.json for names and directories of the run
_GIT = "git"
_TRAVEL_S = 300.0


@dataclass
class Resolved(merge.MergedConfig):
    """A job's config.yaml: nothing in it is resolved again; only the run that it names is another one.

    `dir` and `run_name` are the former run's; `trained` is its config with `@run` where the run's name stood.
    """

    dir: str = ""
    run_name: str = ""
    trained: dict[str, Any] = field(default_factory=dict)
    deferred: tuple[str, ...] = ()

    def resolve(self, run: Mapping[str, Any], scope: Any) -> merge.Config:
        """See MergedConfig.resolve."""
        data = self._renamed(self.data, self.trained, str(run["dir"]), str(run["name"]))
        return merge.Config(data, {key: self.where(key) for key, _ in flatten(data)}, self.deferred)

    def _renamed(self, value: Any, trained: Any, folder: str, name: str) -> Any:
        if isinstance(value, Mapping):
            told = trained if isinstance(trained, Mapping) else {}
            return {key: self._renamed(entry, told.get(key), folder, name) for key, entry in value.items()}
        if isinstance(value, list):
            listed = trained if isinstance(trained, list) and len(trained) == len(value) else [None] * len(value)
            return [self._renamed(entry, told, folder, name) for entry, told in zip(value, listed, strict=True)]
        if not isinstance(value, str):
            return value
        own = rf"{re.escape(self.dir)}(?![\w.-])"
        if isinstance(trained, str) and _RUN in trained:
            own += f"|{re.escape(self.run_name)}"
        return re.sub(own, lambda match: folder if match[0] == self.dir else name, value)


@dataclass(frozen=True)
class Again:
    """What is to be made: `profile` None is the job's own profile as it was, `name` None a new run's."""

    left: Left
    folder: Path  # where what travelled lies on this machine: `at_hand`
    mode: Mode
    profile: str | None = None
    name: str | None = None
    offline: bool = False


def at_hand(left: Left, scratch: Path) -> Path:
    """A directory of this machine with what travelled with the job; `scratch` takes that of another machine.

    Raises:
        ClusterError: it cannot be brought here.
    """
    if left.place == LOCAL:
        return Path(left.record.job_dir)
    assert isinstance(left.place, RemoteFileSystem)
    names = f"{contract.CODE}/. {contract.CONFIG} $(ls -d git 2>/dev/null)"  # code/ of a sweep's point is a link
    script = f"cd {shlex.quote(left.record.job_dir)} && tar -c -f - {names}"
    code, out, err = left.place.shell.run_bytes(script, timeout=_TRAVEL_S)
    if code:
        said = " ".join(err.decode(errors="replace").split())[-300:]
        raise ClusterError(f"{left.place.shell.place}: {left.record.job_dir} cannot be read: {said}")
    try:
        with tarfile.open(fileobj=io.BytesIO(out)) as archive:
            _extract(archive, scratch)
    except tarfile.TarError as error:
        raise ClusterError(f"{left.place.shell.place}: {left.record.job_dir} cannot be taken over: {error}") from error
    return scratch


def _extract(archive: tarfile.TarFile, into: Path) -> None:
    """What stays below `into`, and nothing else.

    Raises:
        TarError: it leads elsewhere.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extractall(into, filter="data")
        return
    for member in archive:  # before 3.10.12 and 3.11.4
        for path in (member.name, member.linkname):
            if path.startswith("/") or ".." in path.split("/"):
                raise tarfile.ExtractError(f"{member.name} leads to {path}")
        if not (member.isreg() or member.isdir() or member.issym()):
            raise tarfile.ExtractError(f"{member.name} is neither file nor directory")
    archive.extractall(into)


def plan(workspace: Workspace, env_file: EnvFile, again: Again, environ: Mapping[str, str] | None = None) -> Plan:
    """The plan; nothing is written.

    Raises:
        PlanRefused: a file of the job's directory is gone, or is not what travelled.
        LaunchError: the parts do not fit together; see launch/planning.py.
    """
    left = again.left
    files = _files(workspace, left, again.folder)
    own = again.profile is None or again.profile == left.plan.get("profile")
    name = str(left.plan.get("profile")) if again.profile is None else again.profile
    recipe = _recipe(workspace, left, again.folder)
    if own:  # whole as it was: neither env.toml nor the recipe's defaults come in
        env_file = replace(env_file, profiles={**env_file.profiles, name: own_profile(left)})
        recipe = replace(recipe, resources={}, image=None)
    wanted = again.name or f"{left.record.run_name[: naming.LONGEST - len(_SUFFIX)]}{_SUFFIX}"
    return planning.make(
        workspace,
        env_file,
        name,
        recipe,
        _config(left, again.folder),
        mode=again.mode,
        name=wanted,
        fresh=again.name is None,
        offline=again.offline,
        environ=environ,
        files=files,
        begins_from=_origin(left),
        typed=("reproduce", left.job_id),
    )


def _origin(left: Left) -> Origin | None:
    """The checkpoint that the job began from: its directory stands in the config, and the run that has it is told."""
    told = left.plan.get("origin")
    if not isinstance(told, Mapping) or not {"run_name", "run_dir", "checkpoint", "step", "path"} <= told.keys():
        return None
    may_go = bool(told.get("may_go")) and rundir.finished(str(told["run_dir"]), left.place) is None
    run, run_dir, checkpoint, path = (str(told[key]) for key in ("run_name", "run_dir", "checkpoint", "path"))
    limit, fix = (str(told.get(key, "")) for key in ("limit", "fix"))
    return Origin(run, run_dir, checkpoint, int(told["step"]), path, may_go, left.place, limit, fix)


def own_profile(left: Left) -> dict[str, Any]:
    """The profile's values as the job had them."""
    found = left.plan.get("profile_values")
    return dict(found) if isinstance(found, Mapping) else {}


def agent_files(left: Left, workspace: Workspace) -> list[str]:
    """Files of the launcher's own agent that are others now."""
    now = {file.path: file.sha256 for file in packaging.agent(workspace.recipes)}
    before = {path: digest for path, digest in left.files.items() if packaging.is_agent(path)}
    return sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))


def _recipe(workspace: Workspace, left: Left, folder: Path) -> Recipe:
    order = parse(left.read(contract.AGENT) or b"") or {}
    script = order.get("script")
    if not isinstance(script, str) or f"{contract.CODE}/{script}" not in left.files:
        raise JobError(f"{left.job_id}: {contract.AGENT} does not say which script it ran.")
    return recipes.find(workspace, str(folder / contract.CODE / script))


def _config(left: Left, folder: Path) -> Resolved:
    record = left.record
    path = folder / contract.CONFIG
    found = Resolved(str(left.plan.get("config_name") or path.stem), path, dir=record.run_dir, run_name=record.run_name)
    found.trained = rundir.trained(record.run_dir, left.place) or {}
    deferred = left.plan.get("kept_for_the_job")
    found.deferred = tuple(str(name) for name in deferred) if isinstance(deferred, list) else ()
    found.add(yamlio.read(path), f"{record.job_id}/{contract.CONFIG}")
    return found


def _files(workspace: Workspace, left: Left, folder: Path) -> tuple[PlannedFile, ...]:
    """What travelled, to the byte, but for the launcher's own agent: that one belongs to the launcher."""
    wrong = list(_wrong(left, folder))
    if wrong:
        shown = "; ".join(wrong[:6]) + (f" and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        commit = f"it ran commit {left.commit[:12]}, with {contract.GIT_DIFF} of its directory" if left.commit else None
        raise PlanRefused(f"{left.job_id} cannot be run again as it was: {shown}.", commit)
    kept = [path for path in left.files if path.startswith(f"{contract.CODE}/") and not packaging.is_agent(path)]
    kept += [path.relative_to(folder).as_posix() for path in (folder / _GIT).rglob("*") if path.is_file()]
    planned = [packaging.planned(path, folder / path) for path in kept]
    return tuple(sorted([*planned, *packaging.agent(workspace.recipes)], key=lambda file: file.path))


def _wrong(left: Left, folder: Path) -> Iterator[str]:
    """What of the job's directory is not as it was."""
    code = f"{contract.CODE}/"
    if not (folder / contract.CODE).is_dir():
        yield f"{left.record.job_dir}/{contract.CODE} is gone"
        return
    for path, digest in left.files.items():
        if not (path.startswith(code) or path == contract.CONFIG) or packaging.is_agent(path):
            continue
        try:
            content = (folder / path).read_bytes()
        except OSError:
            yield f"{left.record.job_dir}/{path} is gone"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            yield f"{left.record.job_dir}/{path} was changed"
