"""Keys and tokens that the config needs: does the job have them. Only their names are read, never their values."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from automodel_launch import backends
from automodel_launch.backends.hub import cache, gated
from automodel_launch.backends.trackers import SILENT, TRACK, Use, named
from automodel_launch.config import dotted, envscope
from automodel_launch.config.dotted import flatten
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe_value, source
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.secret_names import is_secret
from automodel_launch.remote.probes import Results

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # huggingface_hub, utils/_auth.py
KEY = "WANDB_API_KEY"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_ON = ("1", "ON", "YES", "TRUE")  # huggingface_hub, constants.py

_SCRIPT = """
for name in NAMES; do [ -n "${!name}" ] && echo "$name"; done
for name in OFFLINE; do [[ ${!name^^} =~ ^(1|ON|YES|TRUE)$ ]] && echo "$name"; done
home=${HF_HOME:-$HOME/.cache/huggingface}
[ -s "${HF_TOKEN_PATH:-$home/token}" ] && echo token-file
for name in CACHED; do [ -d "${HF_HUB_CACHE:-$home/hub}/models--${name//\\//--}" ] && echo "cached $name"; done
grep -qs wandb ~/.netrc ~/_netrc && echo netrc
true
"""


def forwarded(plan: Plan) -> Iterator[Finding]:
    """A secret that the config refers to reaches the job, which fails at its start where it does not."""
    given = _given(plan)
    for name in plan.deferred:
        keys = [key for key, value in flatten(plan.config) if f"${{oc.env:{name}}}" in str(value)]
        if not keys or name in given:
            continue
        message = f"{keys[0]} ({source(plan, keys[0])}) needs {name}, which the profile does not give to the job."
        if is_secret(name):
            fix = f'secrets = ["{name}"] in the profile, or run.env.secrets=[{name}]'
            yield Finding("error" if plan.here else "warning", "not-forwarded", message, fix)
        elif plan.here and name.startswith("SLURM"):
            message = f"{keys[0]} ({source(plan, keys[0])}) needs {name}, which only a job of Slurm has."
            yield Finding("warning", "not-forwarded", message, f"${{oc.env:{name},DEFAULT}}")


def here(plan: Plan) -> Iterator[Finding]:
    """For jobs that run on this machine."""
    if plan.here:
        yield from _judged(plan, _known_here(plan))


def at_login(plan: Plan) -> dict[str, str]:
    """For the cluster: what a login shell has, which a job starts with (sbatch --export=NONE)."""
    repositories = [repository for _, repository, _ in _repositories(plan)]
    if not repositories and not _wandb(plan):
        return {}
    script = _SCRIPT.replace("NAMES", " ".join((*TOKENS, KEY, "WANDB_MODE"))).replace("OFFLINE", " ".join(_OFFLINE))
    script = script.replace("CACHED", " ".join(map(shlex.quote, repositories)))
    home = _hub_home(plan)
    return {"credentials": f"HF_HOME={shlex.quote(home)}{script}" if home else script}


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answer of a login shell."""
    if at_login(plan) and answers["credentials"].code == 0:
        yield from _judged(plan, set(answers["credentials"].text.splitlines()))


def _judged(plan: Plan, known: set[str]) -> Iterator[Finding]:
    """`known`: names that are set, `token-file`, `netrc`, and `cached NAME` of each repository that is there."""
    known = known | _given(plan)
    use = _wandb(plan)
    if use and not known & {KEY, "netrc"} and _mode(plan, known) not in SILENT:
        own = use.key == TRACK  # of the profile: the training goes on without it
        written = plan.source(use.key) if own else source(plan, use.key)
        message = f"{use.key} ({written}) needs {KEY}, which the job does not have."
        fix = f'secrets = ["{KEY}"] in the profile and export {KEY}=..., or {use.offline}'
        yield Finding("warning" if own else "error", "wandb-key", message, fix)
    values = {name: _value(plan, name) for name in _OFFLINE}
    offline = any((value or "").upper() in _ON or (value is None and name in known) for name, value in values.items())
    reported: set[str] = set()
    for key, repository, instead in _repositories(plan):
        if f"cached {repository}" in known or repository in reported:
            continue
        reported.add(repository)
        if offline and _cache_is_known(plan):
            message = f"{describe_value(plan, key, repository)} is not in the job's cache, and HF_HUB_OFFLINE is set."
            fix = f"hf download {repository}, where the job runs; or {instead}"
            yield Finding("error", "hub-offline", message, fix)
        elif gated.known(repository) and not known & {*TOKENS, "token-file"}:
            message = f"{describe_value(plan, key, repository)} is gated on the hub, and the job has no HF_TOKEN."
            fix = f'secrets = ["HF_TOKEN"] in the profile and export HF_TOKEN=..., or {instead}'
            yield Finding("warning", "hf-token", message, fix)


def _repositories(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(key, hub id, what takes its place) of the model and of tokenizers."""
    for reference in backends.of(plan.recipe).references(plan.config):
        value = reference.value
        if reference.kind not in ("tokenizer", "model") or dotted.left_to_the_job(value):
            continue
        if reference.hub and not cache.is_path(value, plan.visible) and value.count("/") <= 1:
            yield reference.key, value, reference.instead


def _wandb(plan: Plan) -> Use | None:
    """The training logs to Weights & Biases over the network."""
    uses = [*backends.of(plan.recipe).trackers(plan.config), *named(plan.profile.track)]
    return next((use for use in uses if use.tracker == "wandb" and use.online), None)


def _mode(plan: Plan, known: set[str]) -> str | None:
    """WANDB_MODE of the job; one that a login shell of the cluster sets is taken to mean offline."""
    return _value(plan, "WANDB_MODE") or (SILENT[0] if "WANDB_MODE" in known else None)


def _inherits(plan: Plan) -> bool:
    """The job has this shell's environment: it runs here, and in no container."""
    return plan.here and plan.image is None


def _given(plan: Plan) -> set[str]:
    """Names that the job certainly has; all that are asked for, where its set-up reads a file that may set any."""
    profile = plan.profile
    lines = profile.shell_lines
    names = {*profile.secrets, *profile.env, *profile.env_vars, *envscope.exported(lines)}
    if _inherits(plan):
        names.update(os.environ)
    if envscope.reads_a_file(lines):
        names.update((KEY, *TOKENS, *plan.deferred))
    return names


def _value(plan: Plan, name: str) -> str | None:
    """A variable's value in the job, where that is known here."""
    value = plan.profile.env_vars.get(name)
    if value is None and (name in plan.profile.env or _inherits(plan)):
        value = os.environ.get(name)
    return value


def _known_here(plan: Plan) -> set[str]:
    known = {f"cached {name}" for _, name, _ in _repositories(plan) if cache.has(name)}
    if not _inherits(plan):
        return known
    if (cache.home() / "token").is_file():
        known.add("token-file")
    with contextlib.suppress(OSError, ValueError):
        known.update({"netrc"} if "wandb" in Path("~/.netrc").expanduser().read_text(encoding="utf-8") else ())
    return known


def _hub_home(plan: Plan) -> str | None:
    """HF_HOME that the profile gives to the job, as a path outside its container."""
    home = plan.profile.env_vars.get("HF_HOME")
    seen = plan.mounts
    return mounts_.outside(home, seen) if home and seen else home


def _cache_is_known(plan: Plan) -> bool:
    """A container has a home of its own, unless the profile tells where HF_HOME is."""
    return not plan.mounts or _hub_home(plan) is not None


CHECKS = (forwarded, here)
