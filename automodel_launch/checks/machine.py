"""This machine, for jobs that run on it: Python and its packages, ports, GPUs, the run's other jobs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from automodel_launch import backends, contract
from automodel_launch.backends import Framework, Need
from automodel_launch.checks.packages import FIND, lacking, needed
from automodel_launch.checks.packages import findings as lacked
from automodel_launch.executors.agent import starts_with_ft
from automodel_launch.executors.forms import words
from automodel_launch.jobs.jobdir import JobDir
from automodel_launch.plan import naming
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import gpus

COMPILERS = ("c++", "g++", "clang++")
FT_PACKAGE = "nvidia-resiliency-ext"
SET_UP = (
    *("torch", "transformers", "datasets", "huggingface-hub", "numpy", "pyyaml"),
    *("tokenizers", "fastokens", "pyarrow", "zstandard", "orjson", "obstore"),
)
"""What scripts/setup.sh installs beside a framework, as pip writes it."""
_PROBE = """
import json, sys
found = {}
if sys.version_info >= (3, 8):
    import importlib.metadata as m
    for name in sys.argv[1:]:
        try: found[name] = m.version(name)
        except m.PackageNotFoundError: found[name] = None
print(json.dumps([sys.version_info[:3], found]))
"""


def packages(plan: Plan) -> Iterator[Finding]:
    """The Python of the job has the distributions that the recipe's metadata block names."""
    if not plan.here:
        return
    python = plan.agent["python"]
    if plan.profile.python and words.has_arguments(plan.profile.python):
        return  # checks/forms.py says so
    if shutil.which(python) is None:
        source = plan.profile_sources.get("python", plan.profile_name)
        yield Finding("error", "no-python", f"python = {python} ({source}): no such program.", _install(plan))
        return
    try:
        version, found = _installed(plan)
    except (OSError, subprocess.CalledProcessError, ValueError, TypeError) as error:
        source = plan.profile_sources.get("python", plan.profile_name)
        yield Finding(
            "error", "no-python", f"python = {python} ({source}): is not a Python interpreter: {error}", _install(plan)
        )
        return
    oldest = plan.recipe.oldest_python
    if oldest and version[:2] < oldest:
        message = f"python = {python} ({plan.source('python')}) is {_dotted(version)}, and {plan.recipe.name} needs"
        yield Finding("error", "training-python", f"{message} {_dotted(oldest)} or later.", _install(plan))
        return
    for name, entry in _asked(plan, version).items():
        if found.get(name) is not None:
            continue
        fix = _install(plan) if _is_set_up(name) else f"{python} -m pip install {shlex.quote(entry)}"
        if name == FT_PACKAGE:
            source = plan.profile_sources.get("launcher", plan.profile_name)
            fix = f'{python} -m pip install {FT_PACKAGE}; or leave launcher = "ft" out ({source})'
        yield Finding("error", "missing-package", f"{python} has no package {name}, which the job needs.", fix)
    yield from _other_version(plan, found)
    yield from _other_than_asked(plan, found)
    yield from lacked(plan, _lacking(plan), "", "error")


def _lacking(plan: Plan) -> list[Need]:
    """What the config asks for, and the job's Python does not find."""
    names = [need.module for need in needed(plan)]
    if not names:
        return []
    python = plan.agent["python"]
    if python == sys.executable:
        return [need for need in needed(plan) if importlib.util.find_spec(need.module) is None]
    done = subprocess.run([python, "-c", FIND, *names], capture_output=True, text=True, check=False)
    return lacking(plan, done.stdout)


def _is_set_up(name: str) -> bool:
    """scripts/setup.sh installs it."""
    frameworks = backends.frameworks().values()
    return name.lower().replace("_", "-") in SET_UP or any(one.is_named_by(name) for one in frameworks)


def _install(plan: Plan) -> str:
    """What installs it; asked for where something is missing, since it loads all backends."""
    named = [one for one in backends.frameworks().values() if any(map(one.is_named_by, plan.recipe.dependencies))]
    framework = backends.of(plan.recipe).framework or next(iter(named), None)
    return framework.setup if framework else Framework.setup


def _installed(plan: Plan) -> tuple[tuple[int, ...], dict[str, str | None]]:
    """Python's version, and that of each distribution that the recipe needs, None where it is not there."""
    python = plan.agent["python"]
    names = list(_asked(plan, ()))
    if python == sys.executable:
        return tuple(sys.version_info[:3]), {name: _version(name) for name in names}
    done = subprocess.run([python, "-I", "-c", _PROBE, *names], capture_output=True, text=True, check=True)
    version, found = json.loads(done.stdout)
    return tuple(version), found


def _asked(plan: Plan, version: tuple[int, ...]) -> dict[str, str]:
    """Each distribution that the recipe needs, and what asks for it; without those of other Pythons than `version`."""
    asked = {}
    for entry in plan.recipe.dependencies:
        wanted, _, marker = entry.partition(";")
        name = re.split(r"[\s\[<>=!~;@(]", wanted.strip(), maxsplit=1)[0]
        if not (version and marker) or _holds(marker, version):
            asked[name] = wanted.strip()
    return {**asked, **({FT_PACKAGE: FT_PACKAGE} if starts_with_ft(plan) else {})}


def _holds(marker: str, version: tuple[int, ...]) -> bool:
    """`python_version < "3.11"`: whether that is said of this Python."""
    try:
        from packaging.markers import InvalidMarker, Marker
    except ImportError:  # it comes with nemo_run's own needs
        return False
    try:
        return Marker(marker).evaluate(
            {"python_version": _dotted(version[:2]), "python_full_version": _dotted(version)}
        )
    except InvalidMarker:
        return False


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _other_version(plan: Plan, found: Mapping[str, str | None]) -> Iterator[Finding]:
    """The backend's checks know one release of its framework."""
    framework = backends.of(plan.recipe).framework
    for name, version in found.items() if framework else ():
        if framework and framework.is_named_by(name) and version not in (None, framework.version):
            title, known = framework.title, framework.version
            message = f"{plan.agent['python']} has {title} {version}; the config was checked against {known}."
            fix = f"pip install {framework.distribution}=={known}, or read its findings with that in mind"
            yield Finding("note", "other-version", message, fix)


def _other_than_asked(plan: Plan, found: Mapping[str, str | None]) -> Iterator[Finding]:
    """Versions that the metadata block rules out; nothing installs them, and the script may run with others."""
    framework = backends.of(plan.recipe).framework
    entries = [entry for entry in plan.recipe.dependencies if re.search(r"[<>=!~]", entry)]
    entries = [entry for entry in entries if not (framework and framework.is_named_by(entry))]  # told above
    if not entries:
        return
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # it comes with nemo_run's own needs
        return
    for entry in entries:
        try:
            wanted = Requirement(entry)
        except InvalidRequirement:
            continue
        version = found.get(wanted.name)
        if version is None or wanted.marker:  # told already, or of some Pythons only
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            message = f"{plan.agent['python']} has {wanted.name} {version}, and {plan.recipe.name} asks for {entry}."
            fix = f"{plan.agent['python']} -m pip install '{entry}'"
            yield Finding("warning", "other-than-asked", message, fix)


def compiler(plan: Plan) -> Iterator[Finding]:
    """What the training compiles needs a compiler on this machine, often only after the model is loaded."""
    backend = backends.of(plan.recipe)
    compiles = backend.compiles(plan.config)
    if plan.here and compiles and not any(shutil.which(name) for name in COMPILERS):
        title = backend.framework.title if backend.framework else "the recipe"
        message = f"{title} compiles {compiles}, and this machine has no C++ compiler."
        yield Finding("error", "no-compiler", message, "install g++ (Debian: apt-get install g++)")


def port(plan: Plan) -> Iterator[Finding]:
    """A fixed rendezvous port is free on this machine."""
    number = plan.agent["rendezvous"]["port"]
    if not plan.here or number is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch's store does
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            source = plan.profile_sources.get("rdzv_port", plan.profile_name)
            message = f"rdzv_port = {number} ({source}): the port cannot be used: {error.strerror}."
            yield Finding("error", "port-in-use", message, "leave rdzv_port out (a free one is taken), or give another")


def processes(plan: Plan) -> Iterator[Finding]:
    """More processes than GPUs: each rank needs a GPU of its own."""
    present = gpus.count()
    if plan.here and plan.recipe.launch == "torchrun" and 0 < present < plan.processes_per_node:
        source = plan.profile_sources.get("nproc_per_node", plan.profile_name)
        message = f"nproc_per_node = {plan.processes_per_node} ({source}), and this machine shows {present} GPUs."
        yield Finding("error", "too-few-gpus", message, f"run.env.nproc_per_node={present}")


def one_writer(plan: Plan) -> Iterator[Finding]:
    """Two jobs of one run would write one set of checkpoints. Also where no claim tells of it (launch/checking.py)."""
    root = Path(plan.job_root)
    for folder in root.glob(f"{plan.run_name}.*") if plan.here else ():
        if naming.run_of(folder.name) == plan.run_name and JobDir(folder).agent_pid() is not None:
            yield Finding(
                "error",
                "run-active",
                f"run {plan.run_name} is being worked on by job {folder.name}.",
                f"`tail -f {folder}/{contract.rank_log(0)}` shows its log; or --fresh for a run beside it",
            )


def one_run(plan: Plan) -> Iterator[Finding]:
    """A directory of checkpoints outside the run's that a job of another run is writing to now."""
    wanted = plan.agent.get("checkpoint_dir")
    if not plan.here or not wanted or Path(wanted).is_relative_to(plan.run_dir):
        return
    for folder in Path(plan.job_root).glob("*.*"):
        other = JobDir(folder)
        if naming.run_of(folder.name) == plan.run_name or (other.agent_order() or {}).get("checkpoint_dir") != wanted:
            continue
        if other.agent_pid() is not None:
            message = f"job {folder.name} of another run is saving in {wanted}: each would go on from the other's."
            fix = "a directory of its own, as ${run.dir}/checkpoints; or wait for that job's end"
            yield Finding("error", "run-active", message, fix)
            return


CHECKS = (packages, compiler, port, processes, one_writer, one_run)
