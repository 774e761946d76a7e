"""The container of a job: its image and its mounts, checked on the machine where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from automodel_launch import backends
from automodel_launch.backends import Framework
from automodel_launch.executors.containers import container as containers
from automodel_launch.executors.containers import sqsh
from automodel_launch.executors.containers.container import PYXIS, Container
from automodel_launch.plan import mounts as mounts_
from automodel_launch.plan.describe import describe
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.mounts import Mount
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import login_shell
from automodel_launch.remote.probes import Results

_BARE = 'container_image = "none" with python, setup_lines; or container_runtime = "apptainer"'


def visible_inside(plan: Plan) -> Iterator[Finding]:
    """Data and tokenizers that the config names by their paths are mounted, as far as is known here."""
    seen = plan.mounts
    if not seen or any(mounts_.has_variable(mount.target) for mount in seen):
        return
    for reference in backends.of(plan.recipe).references(plan.config):
        key = reference.key
        missing = [path for path in sorted(set(_absolute(reference.value))) if mounts_.outside(path, seen) is None]
        for path in missing if reference.kind in ("data", "tokenizer") else ():
            source = plan.provenance.get(key, plan.config_name)
            message = f"{key} ({source}): {path} is not in the container, unless the image has it."
            fix = f'mounts = ["{path.rpartition("/")[0] or path}"]'
            if not plan.visible and Path(path).exists():  # a mount of this machine's directory is none of the cluster's
                fix = "copy it to the cluster and name its path there (docs/data.md: From a laptop to a cluster)"
            yield Finding("warning", "not-in-container", message, fix)
        if missing and reference.kind == "output":
            message = f"{describe(plan, key)} is on no mount: what is written there is lost with the container."
            yield Finding("warning", "not-in-container", message, f"{key} below ${{run.dir}}, or a mount")


def local_framework(plan: Plan) -> Iterator[Finding]:
    """A checkout mounted over the image's own, or named by PYTHONPATH, is what the job imports."""
    seen, framework = plan.mounts, backends.of(plan.recipe).framework
    if not seen or framework is None:
        return
    variable = plan.profile.env_vars.get("PYTHONPATH", "")
    for path in (part for part in variable.split(":") if part):
        source = mounts_.outside(path, seen)
        if source and plan.visible and _has_package(source, framework):
            yield _imported(plan, framework, source, f"PYTHONPATH names {path}")
            return
    mount = next((mount for mount in reversed(seen) if mount.written and mount.target == framework.checkout), None)
    if mount:
        yield _imported(plan, framework, mount.source, f"mounts: {mount.written!r}")


def _imported(plan: Plan, framework: Framework, source: str, why: str) -> Finding:
    name = framework.title
    known = plan.visible and not mounts_.has_variable(source)
    if known and not _has_package(source, framework):
        message = f"{why}: {source} hides the image's {name} and holds no package {framework.package}."
        return Finding("error", "no-framework", message, f"mount the top of a checkout of {name}")
    return Finding("note", "local-framework", f"{name} is imported from {source} ({why}), not from the image.")


def _has_package(folder: str, framework: Framework) -> bool:
    """The package lies there, or below src/, where an editable installation finds it in a checkout, too."""
    parts = framework.package.split(".")
    return any(Path(folder, top, *parts, "__init__.py").is_file() for top in ("", "src"))


def _absolute(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("/") and "${" not in value:
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _absolute(one)
    elif isinstance(value, dict):
        yield from _absolute(list(value.values()))


def asked(plan: Plan) -> dict[str, str]:
    """Questions to the cluster, asked in one round trip with the others."""
    container = containers.of(plan)
    if container is None:
        return {}
    return {"runtime": _runtime(container.runtime), **_about_paths(container, with_variables=False)}


def at_login(plan: Plan) -> dict[str, str]:
    """Those for a login shell: jobs have its variables (sbatch --export=NONE), which an ssh command lacks."""
    container = containers.of(plan)
    return _about_paths(container, with_variables=True) if container else {}


def _about_paths(container: Container, with_variables: bool) -> dict[str, str]:
    own = [mount.source for mount in container.mounts if mount.written and mount.has_source]
    asked = {"sources": (_sources(container.mounts), own)}
    if container.image.path:
        asked["image"] = (sqsh.question(container.image_word), [container.image.path])
    return {
        name: script
        for name, (script, paths) in asked.items()
        if any(map(mounts_.has_variable, paths)) is with_variables
    }


def answered(plan: Plan, answers: Results) -> Iterator[Finding]:
    """Findings from the answers."""
    container = containers.of(plan)
    if container is None:
        return
    yield from _missing_runtime(container, answers)
    if container.image.path and answers["image"].code != login_shell.LOST:
        yield from _image(plan, container, answers)
    yield from _missing_sources(plan, container.mounts, answers["sources"].text)


def _runtime(runtime: str) -> str:
    pyxis = "out=$(srun --help) || exit 3; [[ $out == *--container-image* ]]"  # 3: srun itself cannot be asked
    return pyxis if runtime == PYXIS else f"command -v {runtime}"


def _missing_runtime(container: Container, answers: Results) -> Iterator[Finding]:
    code = answers["runtime"].code
    if code == 1 and container.runtime == PYXIS:
        message = "container_image is set, and the cluster's srun has no --container-image: pyxis is not installed."
        yield Finding("error", "no-pyxis", message, _BARE)
    elif code == 1:
        message = f"container_runtime = {container.runtime}: the login node has no such program; the nodes may have it."
        yield Finding(
            "warning", "no-apptainer", message, 'container_runtime = "/path/of/apptainer", after loading its module'
        )


def _image(plan: Plan, container: Container, answers: Results) -> Iterator[Finding]:
    path, fault = container.image.path or "", sqsh.fault(answers["image"])
    other = container.runtime != PYXIS and fault in ("is no squashfs file", "is a directory")  # .sif, a sandbox
    if fault and not other:
        source = plan.profile_sources.get("container_image", plan.profile_name)
        message = f"container_image = {path} ({source}): {fault}."
        fix = f"enroot import -o {path} docker://NAME, on the cluster"
        if plan.profile.image_cache:
            fix = f"python launch.py image {plan.profile_name} import"
        yield Finding("error", "bad-image", message, fix)


# A line for each source that does not exist: its number, and the nearest directory above it that does.
_REPORT = """
report() {
  local up=$2
  [ -e "$2" ] && return
  while [ ! -e "$up" ]; do up=${up%/*}; up=${up:-/}; done
  printf 'missing %s %s\\n' "$1" "$up"
}
"""


def _sources(seen: tuple[Mount, ...]) -> str:
    own = [(number, mount) for number, mount in enumerate(seen) if mount.written and mount.has_source]
    lines = [
        f"(report {number} {mounts_.shell(mount.source)}) 2>/dev/null || echo unset {number}" for number, mount in own
    ]
    return _REPORT + "\n".join(lines)


def _missing_sources(plan: Plan, seen: tuple[Mount, ...], text: str) -> Iterator[Finding]:
    source = plan.profile_sources.get("mounts", plan.profile_name)
    for what, number, up in re.findall(r"^(missing|unset) (\d+) ?(.*)$", text, re.MULTILINE):
        mount = seen[int(number)]
        where = f"mounts ({source}): {mount.written!r}"
        if what == "unset":
            message = f"{where}: its variable is not set in a login shell of the cluster."
            yield Finding("warning", "unset-variable", message, "write the path out")
        elif up == "/":  # a file system that the login node has nothing of
            message = f"{where}: not on the login node. Is it a disk of the compute nodes?"
            yield Finding("warning", "mount-elsewhere", message, "on a node that lacks it, the job ends at its start")
        else:
            message = f"{where}: does not exist on the cluster; {up} does."
            yield Finding("error", "no-mount-source", message, "make it, or remove the mount")


CHECKS = (visible_inside, local_framework)
