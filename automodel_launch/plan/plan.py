"""Profile x Recipe x Config -> Plan: an immutable value that holds everything that will happen, with its hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from automodel_launch import executors
from automodel_launch.config import artifacts, envscope, merge, yamlio
from automodel_launch.errors import ProfileError
from automodel_launch.plan import naming, packaging
from automodel_launch.plan.packaging import PlannedFile
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile import profiles
from automodel_launch.profile.schema import Profile
from automodel_launch.profile.secret_names import is_secret
from automodel_launch.profile.validation import validate
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.workspace import Workspace

Mode = Literal["run", "batch"]


@dataclass(frozen=True)
class Plan:
    """What will be submitted. Two launches with equal `plan_hash` differ in nothing but the job's id.

    `script` is what is handed to the executor, to the byte; `agent` is the node agent's agent.json; `texts` are the
    files of the job's directory that the launcher writes, beside those in `files` that it copies.
    """

    job_id: str
    run_name: str
    mode: Mode
    recipe: Recipe
    config_name: str
    profile_name: str
    profile: Profile
    profile_sources: dict[str, str]
    job_root: str
    processes_per_node: int
    trained: dict[str, Any]  # the config as it identifies the run: without the names of run and directories
    config: dict[str, Any]
    provenance: dict[str, str]
    deferred: tuple[str, ...]
    files: tuple[PlannedFile, ...]
    texts: dict[str, str]
    agent: dict[str, Any]
    script: str
    artifacts: dict[str, dict[str, Any]]  # key of `run` (data) -> the manifest that it stands for
    plan_hash: str = ""
    data_dir: str = ""

    @property
    def executor(self) -> str:
        """Name of the executor."""
        return self.profile.executor

    @property
    def here(self) -> bool:
        """The job runs on this machine: its paths can be looked at."""
        return executors.get(self.executor).here

    @property
    def place(self) -> FileSystem:
        """The file system that holds the job's directory."""
        return executors.get(self.executor).place(self.profile)

    @property
    def visible(self) -> bool:
        """The job's file system is one that this machine sees, so that looking costs nothing."""
        return self.place == LOCAL

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.profile.nodes

    @property
    def world_size(self) -> int:
        """Number of training processes over all nodes."""
        return self.nodes * self.processes_per_node

    @property
    def command(self) -> list[str]:
        """What each training process runs; a recipe with `launch = "torchrun"` is started by torchrun."""
        return [self.agent["python"], self.agent["script"], *self.agent["args"]]

    @property
    def job_dir(self) -> str:
        """The job's directory, on the side where the job runs."""
        return f"{self.job_root}/{self.job_id}"

    @property
    def run_dir(self) -> str:
        """The directory that all jobs of one run share."""
        return f"{self.job_root}/{self.run_name}"

    def document(self) -> dict[str, Any]:
        """The plan as JSON data, with the keys that `--dry-run --json` promises."""
        return {
            "plan_hash": self.plan_hash,
            "job_id": self.job_id,
            "run_name": self.run_name,
            "profile": self.profile_name,
            "recipe": self.recipe.name,
            "config_name": self.config_name,
            "mode": self.mode,
            "executor": self.executor,
            "nodes": self.nodes,
            "processes_per_node": self.processes_per_node,
            "world_size": self.world_size,
            "launch": self.recipe.launch,
            "command": self.command,
            "script": self.script,
            "config": yamlio.json_value(self.config),
            "provenance": self.provenance,
            "kept_for_the_job": list(self.deferred),
            "artifacts": {key: artifacts.name_of(manifest) for key, manifest in self.artifacts.items()},
            "files": [{"path": f.path, "bytes": f.bytes, "sha256": f.sha256} for f in self.files]
            + [_described(path, text) for path, text in self.texts.items()],
            "env": sorted({*self.agent["env"], *self.profile.env, *self.profile.secrets}),
            "secrets": list(self.profile.secrets),
            "mounts": [mount.text for mount in executors.get(self.executor).mounts(self)],
            "container_image": executors.get(self.executor).image(self.profile),
            "job_dir": self.job_dir,
            "run_dir": self.run_dir,
            "profile_values": self.profile.model_dump(mode="json", exclude_defaults=True),
            "profile_sources": self.profile_sources,
        }


def make(
    workspace: Workspace,
    env_file: profiles.EnvFile,
    profile_name: str,
    recipe: Recipe,
    layered: merge.MergedConfig,
    *,
    mode: Mode = "run",
    name: str | None = None,
    fresh: bool = False,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Put a plan together; nothing is written, and nothing is asked over a network but the manifest behind `run.data`.

    Raises:
        LaunchError: the parts do not fit together; see profiles, configs and packaging.
    """
    environ = os.environ if environ is None else environ
    profile, sources = _profile(env_file, profile_name, recipe, layered, environ)
    executor = executors.get(profile.executor)
    root = executor.job_root(profile, workspace)
    scope = _scope(profile, layered, environ)
    own = profile.model_dump(mode="json", exclude_none=True)  # `${HOME}` in a shell line of it is no reference
    run_values: dict[str, Any] = {
        "env": {key: value for key, value in own.items() if "${" not in json.dumps(value)},
        "data_dir": profile.data_dir or executor.data_dir(profile, workspace),
        **{section: values for section, values in env_file.sections.items() if section != "cli"},
    }
    run_values["wandb"] = {**run_values.get("wandb", {}), **layered.section("wandb", dict, "mapping")}
    scope.artifacts = _artifacts(run_values, executor.place(profile), offline)
    trained = layered.resolve({**run_values, "name": "@run", "dir": "@run"}, scope).data
    trained = yamlio.json_value(trained)
    run_name = name or naming.run_name(recipe.name, layered.name, trained)
    naming.check(run_name)
    # Over a connection nothing is asked here: submit takes the next id where this one is taken.
    names = LOCAL.names(root) if executor.place(profile) == LOCAL else []
    if fresh:
        run_name = naming.free_name(run_name, names)
    config = layered.resolve({**run_values, "name": run_name, "dir": f"{root}/{run_name}"}, scope)
    draft = Plan(
        job_id="",
        run_name=run_name,
        mode=mode,
        recipe=recipe,
        config_name=layered.name,
        profile_name=profile_name,
        profile=profile,
        profile_sources=sources,
        job_root=root,
        data_dir=run_values["data_dir"],
        processes_per_node=executor.processes(profile) if recipe.launch == "torchrun" else 1,
        trained=trained,
        config=config.data,
        provenance=config.sources,
        deferred=config.deferred,
        files=packaging.collect(workspace.recipes, recipe.path, profile.code, workspace.root, profile.packager),
        texts={},
        agent={},
        script="",
        artifacts=scope.artifacts.used,
    )
    return with_job_id(draft, naming.next_job_id(run_name, names, workspace.records))


def with_job_id(draft: Plan, job_id: str) -> Plan:
    """The plan for a job of this id. Its hash is that of the same plan with a fixed id, so it leaves the id out."""
    anonymous = _complete(replace(draft, job_id="@job", plan_hash=""))
    document = anonymous.document()
    del document["plan_hash"]
    canonical = json.dumps({**document, "agent": anonymous.agent}, sort_keys=True, ensure_ascii=False)
    plan_hash = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return replace(_complete(replace(draft, job_id=job_id)), plan_hash=plan_hash)


def _complete(plan: Plan) -> Plan:
    """Fill in what depends on the job's id: the agent's spec, the texts and the script."""
    executor = executors.get(plan.executor)
    agent = executor.agent(plan)
    texts = {
        "config.yaml": yamlio.dump(plan.config),
        "agent.json": json.dumps(agent, indent=1, ensure_ascii=False) + "\n",
    }
    plan = replace(plan, agent=agent, texts=texts)
    return replace(plan, script=executor.script(plan))


def _profile(
    env_file: profiles.EnvFile, name: str, recipe: Recipe, layered: merge.MergedConfig, environ: Mapping[str, str]
) -> tuple[Profile, dict[str, str]]:
    run_env = layered.run_env(envscope.EnvScope(environ))
    own = profiles.Layer(f"{layered.path.name} run.env", run_env)
    validate(profiles.merge([own])[0], lambda key: f"{own.source}: {key}")  # also what a stronger layer hides
    layers = [
        profiles.Layer(f"recipe {recipe.name}", recipe.profile_defaults),
        own,
        *env_file.layers(name),
        profiles.Layer("override run.env", layered.profile_overrides),
    ]
    values, sources = profiles.merge(layers)
    profile = validate(values, lambda key: f"{key} ({sources.get(key, name)})")
    written = [variable for variable in profile.env_vars if is_secret(variable)]
    if written:
        raise ProfileError(
            f"env_vars.{written[0]} ({sources[f'env_vars.{written[0]}']}): a secret's value does not belong there; it"
            " would stand in the plan and in the job's files.",
            f'export {written[0]}=..., and secrets = ["{written[0]}"] in the profile',
        )
    if profile.nodes > 1 and not executors.get(profile.executor).many_nodes:
        raise ProfileError(
            f"nodes = {profile.nodes} ({sources['nodes']}): executor '{profile.executor}' runs on one machine.",
            "nodes = 1, or a profile with another executor",
        )
    return profile, sources


def _artifacts(run_values: dict[str, Any], place: FileSystem, offline: bool) -> artifacts.Artifacts:
    section = run_values.setdefault("artifacts", {})
    section = run_values["artifacts"] = {"root": f"{run_values['data_dir']}/artifacts", **section}
    root = os.path.expanduser(section["root"]) if place == LOCAL else section["root"]  # noqa: PTH111
    if not root.startswith("/"):
        raise ProfileError(f"[artifacts] root = {root!r} is relative, and jobs run elsewhere.", "give an absolute path")
    return artifacts.Artifacts(root, None if offline and place != LOCAL else place)


def _scope(profile: Profile, layered: merge.MergedConfig, environ: Mapping[str, str]) -> envscope.EnvScope:
    setup = [profile.setup_lines] if isinstance(profile.setup_lines, str) else list(profile.setup_lines)
    names = {*profile.secrets, *envscope.exported([*setup, *profile.startup_commands])}
    names.update(layered.job_env)
    return envscope.EnvScope(environ, job_env=profile.env_vars, job_only=frozenset(names))


def _described(path: str, text: str) -> dict[str, Any]:
    content = text.encode("utf-8", "surrogateescape")
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
