"""Profile x Recipe x Config -> Plan. Everything that a Plan holds is looked up here, once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from automodel_launch import backends, contract, executors
from automodel_launch.config import artifacts, envscope, merge, yamlio
from automodel_launch.config.dotted import with_text
from automodel_launch.errors import ConfigError, ProfileError, UsageError
from automodel_launch.frozen import freeze, thaw
from automodel_launch.launch import data as data_
from automodel_launch.launch import identity, on_checkpoint
from automodel_launch.launch.origin import Origin
from automodel_launch.launch.shared import Shared
from automodel_launch.plan import naming, packaging, secrets
from automodel_launch.plan.mounts import has_variable
from automodel_launch.plan.plan import Mode, Plan, Seen
from automodel_launch.plan.recipes import Recipe
from automodel_launch.profile import brought, profiles, references
from automodel_launch.profile.schema import Profile
from automodel_launch.profile.settled import settle
from automodel_launch.profile.validation import validate
from automodel_launch.remote.filesystem import LOCAL, FileSystem
from automodel_launch.workspace import Workspace

# They stand for the run's name and directory while a config is resolved, which takes most of a plan's time: once, not
# for what names the run and again with that name. Characters for private use, of which no text is made.
_NAME, _DIR = "\U0010fffc", "\U0010fffd"


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
    files: tuple[packaging.PlannedFile, ...] | None = None,
    begins_from: Origin | None = None,
    shared: Shared | None = None,
    prefix: str | None = None,
    after: Sequence[Mapping[str, Any]] = (),
    promised: Sequence[tuple[str, str, bool]] = (),
    typed: tuple[str, ...] = (),
    choices: Sequence[Mapping[str, Any]] = (),
    own: profiles.Layer | None = None,
) -> Plan:
    """Put a plan together; nothing is written, and nothing is asked over a network but the manifest behind `run.data`,
    what is there already for `fresh`, and a home directory that `remote_job_dir` names.

    The run's name is that of the config as written and, where this machine sees them, of the data. `shared`: what plans
    that are made together need once; with it `base` is left out. `prefix`: what stands before the hash in the name.
    `files`: what travels, where that is not what the recipe and the profile name now.
    `after`, `promised`, `choices`: see Plan; data that are promised are not looked at, so that the name is the same
    before and after.
    `own`: what the command itself says of the profile, over which overrides win.
    `begins_from`: what `layered` begins from already (origin.py). `typed`: see Plan; default: recipe and config.

    Raises:
        LaunchError: the parts do not fit together; see profiles, configs and packaging.
    """
    environ = os.environ if environ is None else environ
    once = (shared or Shared()).once
    profile, sources = _profile(env_file, profile_name, recipe, layered, environ, workspace.root, own)
    executor = executors.get(profile.executor)
    place = executor.place(profile)
    if begins_from is not None:
        begins_from.refuse_elsewhere(place, profile_name)
    if offline and place != LOCAL:
        _refuse_to_ask(profile, sources, fresh)
    whose = profile.model_dump_json()
    root = once(("root", whose), lambda: executor.job_root(profile, workspace))
    scope = _scope(profile, layered, environ)
    data_dir = profile.data_dir or once(("data", whose), lambda: executor.data_dir(profile, workspace))
    run_values = _run_values(_sections(env_file, environ), profile, layered, data_dir)
    scope.artifacts = _artifacts(run_values, place, offline)
    unnamed = {**run_values, "name": "@run", "dir": "@run"}
    written = layered.resolve({**run_values, "name": _NAME, "dir": _DIR}, scope)
    trained = yamlio.json_value(with_text(written.data, {_NAME: "@run", _DIR: "@run"}))
    # Over a connection only what is needed: submit takes the next id where this one is taken.
    names = once(("names", place, root), lambda: place.names(root)) if place == LOCAL or fresh else []
    if files is None:
        files = once(("files", recipe.path, profile.code, profile.packager), lambda: _files(workspace, recipe, profile))
    draft = Plan(
        job_id="@job",
        run_name="@run",
        mode=mode,
        recipe=replace(recipe, resources=freeze(recipe.resources)),
        config_name=layered.name,
        profile_name=profile_name,
        profile=_frozen(profile),
        profile_sources=sources,
        job_root=root,
        place=place,
        here=executor.here,
        data_dir=run_values["data_dir"],
        image=executor.image(profile, sources.get("container_image", profile_name)),
        processes_per_node=executor.processes(profile) if recipe.launch == "torchrun" else 1,
        trained=trained,
        config=trained,
        provenance={},
        deferred=(),
        unset=tuple(name for name in (*profile.secrets, *profile.env) if name not in environ),
        files=files,
        artifacts=scope.artifacts.used,
        origin=begins_from.document() if begins_from else {},
        ignored_settings=brought.ignored(env_file.sections.get("artifacts", {})),
        after=tuple(dict(run) for run in after),
        promised=tuple(promised),
        seen=once(("seen",), Seen),
        typed=typed or _typed(workspace, recipe, layered),
        choices=tuple(dict(choice) for choice in choices),
    )
    backend, mounts = backends.of(recipe), executor.mounts(draft, environ)
    data = data_.look(backend, trained, mounts, draft.visible, draft.promise)
    same = identity.of(layered, backend, replace(draft, data=data.known, mounts=tuple(mounts)), unnamed, scope)
    parts, present = (recipe.name, layered.name, prefix), (root, place, names)
    others: dict[str, str] = once(("run names",), dict)
    run_name = name if name is not None else identity.run_name(parts, same, trained, data.digest, present, others)
    naming.check(run_name)
    if begins_from is not None and not fresh:
        begins_from.refuse_itself(f"{root}/{run_name}")
    if fresh:
        run_name = naming.free_name(run_name, names)
    named = {**run_values, "name": run_name, "dir": f"{root}/{run_name}"}
    config = replace(written, data=with_text(written.data, {_NAME: named["name"], _DIR: named["dir"]}))
    secrets.refuse_in_config(config.data, layered.where)
    config = data.follow_links(backend, config)
    draft = replace(
        draft,
        run_name=run_name,
        identity=same,
        config=config.data,
        provenance=config.sources,
        deferred=config.deferred,
        data=data.of_plan(backend.data(config.data, f"{root}/{run_name}"), data_.may_change(layered)),
        base=None if shared else _base(layered, named, scope),
        overrides=layered.overridden,
    )

    def beside(recipe: Recipe, layered: merge.MergedConfig, name: str, promised: on_checkpoint.Promised) -> Plan:
        return make(
            workspace,
            env_file,
            profile_name,
            recipe,
            layered,
            mode="batch",
            name=name,
            offline=offline,
            environ=environ,
            promised=promised,
            shared=shared,
        )

    draft = on_checkpoint.added(draft, layered.run_env(scope), layered.profile_overrides, workspace, beside)
    return with_job_id(draft, naming.next_job_id(run_name, names, workspace.records), environ)


def _typed(workspace: Workspace, recipe: Recipe, layered: merge.MergedConfig) -> tuple[str, ...]:
    """Names where these find the same again; else paths, from the directory of launch.py where they are below it."""
    own = recipe.path.parent == workspace.recipes.resolve()
    words = [recipe.name if own else _path(recipe.path, workspace)]
    named = layered.path.parent == recipe.config_dir and layered.path.suffix == ".yaml"
    if layered.path != recipe.config_dir / f"{recipe.default_config}.yaml":
        words += ["-c", layered.name if named else _path(layered.path, workspace)]
    return tuple(words)


def _path(path: Path, workspace: Workspace) -> str:
    return str(path.relative_to(workspace.root) if path.is_relative_to(workspace.root) else path)


def _files(workspace: Workspace, recipe: Recipe, profile: Profile) -> tuple[packaging.PlannedFile, ...]:
    return packaging.collect(
        workspace.recipes, recipe.path, recipe.code, profile.code, workspace.root, profile.packager
    )


def _base(layered: merge.MergedConfig, run: Mapping[str, Any], scope: envscope.EnvScope) -> dict[str, Any] | None:
    """The config without the command line's overrides; None where one of these has taken a secret out of it."""
    base = layered.without_overrides(run, scope)
    try:
        secrets.refuse_in_config(base or {}, layered.where)
    except ConfigError:
        return None
    return base


def _refuse_to_ask(profile: Profile, sources: Mapping[str, str], fresh: bool) -> None:
    """What only the cluster knows cannot be planned without a question to it.

    Raises:
        UsageError: with the option, or the key, that needs it.
    """
    if fresh:
        raise UsageError(
            "--fresh has to ask the cluster which runs are there, and --offline asks nothing.",
            "leave out one of them; or --name gives a name of your own",
        )
    if has_variable(profile.remote_job_dir or ""):
        written = f"remote_job_dir = {profile.remote_job_dir!r} ({sources.get('remote_job_dir', 'profile')})"
        raise UsageError(
            f"{written}: the cluster has to be asked for it; --offline asks nothing.",
            "leave out --offline, or write the path out",
        )


def with_job_id(draft: Plan, job_id: str, environ: Mapping[str, str]) -> Plan:
    """The plan for a job of this id. Its hash is that of the same plan with a fixed id, so it leaves the id out."""
    config = yamlio.dump(draft.config)
    anonymous = _complete(replace(draft, job_id="@job", plan_hash=""), config, environ)
    document = anonymous.document()
    del document["plan_hash"]
    canonical = json.dumps({**document, "agent": anonymous.agent}, sort_keys=True, ensure_ascii=False)
    plan_hash = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    return replace(_complete(replace(draft, job_id=job_id), config, environ), plan_hash=plan_hash)


def _complete(plan: Plan, config: str, environ: Mapping[str, str]) -> Plan:
    """Fill in what depends on the job's id: mounts, the agent's spec, the texts, the script and its command.

    `config` is that of the plan as YAML, which does not.
    """
    executor = executors.get(plan.executor)
    plan = replace(plan, mounts=tuple(executor.mounts(plan, environ)))
    agent = executor.agent(plan, environ)
    texts = {
        contract.CONFIG: config,
        contract.AGENT: json.dumps(agent, indent=1, ensure_ascii=False) + "\n",
    }
    if plan.choices:
        texts[contract.CHOICES] = json.dumps({"choices": thaw(plan.choices)}, indent=1, ensure_ascii=False) + "\n"
    texts |= on_checkpoint.texts(plan.evaluation)
    plan = replace(plan, agent=agent, texts=texts, submit=executor.submit_command(plan))
    return replace(plan, script=executor.script(plan))


def _profile(
    env_file: profiles.EnvFile,
    name: str,
    recipe: Recipe,
    layered: merge.MergedConfig,
    environ: Mapping[str, str],
    base: Path,
    own: profiles.Layer | None,
) -> tuple[Profile, dict[str, str]]:
    run_env = layered.run_env(envscope.EnvScope(environ))
    written = profiles.Layer(f"{layered.path.name} run.env", run_env)
    validate(profiles.merge([written])[0], lambda key: f"{written.source}: {key}")  # also what a stronger layer hides
    layers = [
        profiles.Layer(f"recipe {recipe.name}", recipe.profile_defaults),
        written,
        *env_file.layers(name),
        *([own] if own else []),
        profiles.Layer("override run.env", layered.profile_overrides),
    ]
    profile, sources = settle(layers, name, environ, base)
    profile = _with_absolute_python(profile, base)
    secrets.refuse_in_profile(profile.model_dump(mode="json", exclude_defaults=True), sources, name)
    if profile.nodes > 1 and not executors.get(profile.executor).many_nodes:
        raise ProfileError(
            f"nodes = {profile.nodes} ({sources['nodes']}): executor '{profile.executor}' runs on one machine.",
            "nodes = 1, or a profile with another executor",
        )
    return profile, sources


def _with_absolute_python(profile: Profile, base: Path) -> Profile:
    """A relative path is one in the checkout, and not in the directory where the job starts; elsewhere it stays."""
    python, executor = profile.python or "", executors.get(profile.executor)
    if "/" not in python or python.startswith(("/", "~", "$")):
        return profile
    if executor.image(profile) is not None or executor.place(profile) != LOCAL:
        return profile
    return profile.model_copy(update={"python": str(base / python)})


def _frozen(profile: Profile) -> Profile:
    """The profile with its tables (env_vars, additional_parameters) unchangeable, as its other fields are."""
    frozen = profile.model_copy()
    frozen.__dict__.update({key: freeze(value) for key, value in profile if isinstance(value, dict)})
    return frozen


def _sections(env_file: profiles.EnvFile, environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    file = env_file.path.name
    return {name: references.section(table, f"{file} [{name}]", environ) for name, table in env_file.sections.items()}


def _run_values(
    sections: Mapping[str, Mapping[str, Any]], profile: Profile, layered: merge.MergedConfig, data_dir: str
) -> dict[str, Any]:
    """What stands behind `${run.*}`, but for name and directory of the run."""
    own = profile.model_dump(mode="json", exclude_none=True)  # `${HOME}` in a shell line of it is no reference
    values: dict[str, Any] = {
        "env": {key: value for key, value in own.items() if "${" not in json.dumps(value)},
        "data_dir": data_dir,
        **{section: table for section, table in sections.items() if section != "cli"},
    }
    values["wandb"] = {**values.get("wandb", {}), **layered.section("wandb", dict, "mapping")}
    return values


def _artifacts(run_values: dict[str, Any], place: FileSystem, offline: bool) -> artifacts.Artifacts:
    section = run_values.setdefault("artifacts", {})
    root = section.get("root") or section.get("manifest", {}).get("root") or f"{run_values['data_dir']}/artifacts"
    section = run_values["artifacts"] = {**section, "root": root}
    root = os.path.expanduser(section["root"]) if place == LOCAL else section["root"]  # noqa: PTH111
    if not root.startswith("/"):
        raise ProfileError(f"[artifacts] root = {root!r} is relative, and jobs run elsewhere.", "give an absolute path")
    return artifacts.Artifacts(root, None if offline and place != LOCAL else place)


def _scope(profile: Profile, layered: merge.MergedConfig, environ: Mapping[str, str]) -> envscope.EnvScope:
    names = {*profile.secrets, *envscope.exported(profile.shell_lines)}
    names.update(layered.job_env)
    return envscope.EnvScope(environ, job_env=profile.env_vars, job_only=frozenset(names))
