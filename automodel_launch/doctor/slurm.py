"""`doctor` for a Slurm cluster: everything that can be asked without a job, in one round trip."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from automodel_launch import executors
from automodel_launch.doctor import diagnosis, forms, left_locks
from automodel_launch.doctor.diagnosis import PACKAGES, PROBE, Line
from automodel_launch.executors import agent_python
from automodel_launch.executors.containers import container, sqsh
from automodel_launch.executors.containers.images import Image
from automodel_launch.executors.slurm import venv_archive
from automodel_launch.plan import mounts as mounts_
from automodel_launch.remote import disk, login_shell, probes, slurm_site
from automodel_launch.remote.probes import Result, Results
from automodel_launch.remote.shell import Shell
from automodel_launch.remote.slurm_site import Nodes, Partition
from automodel_launch.suggest import did_you_mean

if TYPE_CHECKING:
    from automodel_launch.profile.schema import Profile
    from automodel_launch.workspace import Workspace

_PATHS = 'Slurm\'s commands have to be on the PATH of shells without a login (~/.bashrc), or: tunnel = "ssh", host'


def examine(profile: Profile, workspace: Workspace) -> Iterator[Line]:
    """Everything that can be asked without a job."""
    executor = executors.get(profile.executor)
    program = (workspace.recipes / "node_agent.sh").read_text(encoding="utf-8")
    yield from lines(profile, executor.job_root(profile, workspace), executor.shell(profile), program)


def lines(profile: Profile, root: str, shell: Shell, program: str) -> Iterator[Line]:
    """What is fine and what is not; `program`, a shell script, starts the node agent.

    Raises:
        ClusterError: the place cannot be reached.
    """
    python, image = profile.python or "python3", container.cached_image(profile)
    asked = {
        **slurm_site.PROBES,
        "options": slurm_site.OPTIONS,
        "root": disk.probe(root),
        "login": login_shell.question("true"),
        "agent": agent_python.question(program, profile),
        "python": f"{shlex.quote(python)} -I -c {shlex.quote(PROBE)} {' '.join(PACKAGES)}",
        "venv": venv_archive.question(profile.venv_archive) if profile.venv_archive else "true",
        "image": sqsh.question(mounts_.shell(image.path)) if image and image.path else "true",
        "enroot": "enroot version",
        "locks": left_locks.question(),
        "apptainer": "apptainer --version || singularity --version",
    }
    answers = probes.run(shell, asked)
    if profile.tunnel == "ssh":
        yield Line("ok", "connection", f"ssh {shell.place} in {answers.connection_s:.1f} s")
    yield from _slurm(profile, answers)
    yield from forms.unknown_options(profile, slurm_site.options(answers["options"].text))
    yield from diagnosis.job_root(disk.read(root, answers["root"]))
    lost = login_shell.lost(answers["login"])
    if lost:
        yield Line("warn", "login shell", f"{lost}: jobs would start without HOME and all else", login_shell.FIX)
    yield _agent_python(profile, answers["agent"])
    if profile.venv_archive:
        yield _venv_archive(profile.venv_archive, answers["venv"])
    else:
        yield from _training_python(profile, python, answers["python"])
    yield from _container(profile, answers)
    yield from left_locks.lines(answers["locks"].text if answers["locks"].code == 0 else "")


def _slurm(profile: Profile, answers: Results) -> Iterator[Line]:
    version = answers["version"]
    if version.code:
        fix = _PATHS if version.code == 127 else "is Slurm set up there? SLURM_CONF names its slurm.conf"
        yield Line("FAIL", "Slurm", f"sbatch: {version.brief}", fix)
        return
    yield Line("ok", "Slurm", version.brief)
    ping = answers["ping"]
    if not slurm_site.controller_answers(ping.text):
        yield Line("FAIL", "controller", ping.brief, "ask the cluster's administrators; running jobs go on")
        for what in ("partition", "nodes", "account"):
            yield Line("not checked", what, "the controller does not answer")
        return
    yield Line("ok", "controller", ping.brief)
    yield from _partitions(profile, answers)
    yield _account(profile, answers)
    yield _sacct(answers["sacct"])


def _partitions(profile: Profile, answers: Results) -> Iterator[Line]:
    found = slurm_site.partitions(answers["partitions"].text)
    if not found:
        yield Line("not checked", "partition", f"scontrol show partition: {answers['partitions'].brief}")
        return
    keys = ("run_partition", "batch_partition")
    own = [value for key in keys if (value := getattr(profile, key))]
    if profile.partition and len(own) < len(keys):  # what stands in for the one that is not given
        own.append(profile.partition)
    names = slurm_site.chosen(own, found)
    if not names:
        yield Line("FAIL", "partition", "none is given, and the cluster has no default one", "partition = ...")
    known = {partition.name: partition for partition in found}
    groups = slurm_site.nodes(answers["nodes"].text)
    for name in names:
        if name not in known:
            fix = f"partitions: {', '.join(sorted(known))}"
            yield Line("FAIL", "partition", f"{name}: there is none.{did_you_mean(name, known)}", fix)
            continue
        yield _partition(known[name])
        yield _time(profile, known[name])
        yield from _nodes(profile, name, [group for group in groups if group.partition == name])


def _partition(partition: Partition) -> Line:
    default = " (the cluster's default)" if partition.default else ""
    if partition.state != "UP":
        return Line("FAIL", "partition", f"{partition.name} is {partition.state}", "another partition, or wait")
    return Line("ok", "partition", f"{partition.name} is up{default}")


def _time(profile: Profile, partition: Partition) -> Line:
    limit = partition.max_minutes
    most = "no limit" if limit is None else f"at most {limit:,} min"
    if profile.time is None:
        return Line("warn", "time", f"none is given: the default of {partition.name} holds ({most})", "time = ...")
    asked = slurm_site.minutes(profile.time)
    if asked is None:
        return Line("not checked", "time", f"time = {profile.time} on {partition.name} ({most})")
    if limit is not None and asked > limit:
        return Line("FAIL", "time", f"time = {profile.time} on {partition.name}: {most}", "a shorter `time`")
    return Line("ok", "time", f"time = {profile.time} on {partition.name}: {most}")


def _nodes(profile: Profile, name: str, groups: list[Nodes]) -> Iterator[Line]:
    if not groups:
        yield Line("not checked", "nodes", f"sinfo tells nothing of {name}")
        return
    every, up, idle = (
        sum(group.count for group in groups if kind(group))
        for kind in (lambda group: True, lambda group: group.up, lambda group: group.idle)
    )
    count = profile.nodes + profile.spares
    detail = f"{count} of {every} in {name}; {up} up, {idle} idle"
    yield _enough(count, every, up, "nodes", detail, "fewer nodes")
    wanted = profile.gpus_per_node
    if not wanted:
        yield Line("not checked", "GPUs", "gpus_per_node is not given")
        return
    fitting = [group for group in groups if group.gpus >= wanted]
    every, up = sum(group.count for group in fitting), sum(group.count for group in fitting if group.up)
    kinds = "/".join(str(count) for count in sorted({group.gpus for group in groups}))
    detail = f"{wanted} a node; nodes of {name} have {kinds}"
    yield _enough(count, every, up, "GPUs", detail, f"gpus_per_node = {max(group.gpus for group in groups)}")


def _enough(wanted: int, every: int, up: int, what: str, detail: str, fix: str) -> Line:
    if every < wanted:
        return Line("FAIL", what, detail, fix)
    if up < wanted:
        return Line("warn", what, f"{detail}; only {up} such nodes are up", "jobs wait until nodes come back")
    return Line("ok", what, detail)


def _account(profile: Profile, answers: Results) -> Line:
    answer = answers["accounts"]
    if answer.code:
        return Line("not checked", "account", "no accounting: Slurm takes any account")
    known = sorted({line.strip() for line in answer.text.splitlines() if line.strip()})
    yours = f"yours: {', '.join(known) or 'none'}"
    if profile.account is None:
        return Line("ok", "account", f"none is given, Slurm takes your default one ({yours})")
    if profile.account.lower() in known:  # Slurm keeps them in small letters
        return Line("ok", "account", profile.account)
    enforced = re.search(r"=\s*(?!none)\w", answers["enforced"].text, re.I)
    detail = f"{profile.account} is none of yours{'' if enforced else '; Slurm does not enforce it here'}"
    return Line("FAIL" if enforced else "warn", "account", detail, yours)


def _sacct(answer: Result) -> Line:
    if answer.code:
        return Line("ok", "sacct", "not there, and not needed: jobs leave their own record of their end")
    return Line("ok", "sacct", "there")


def _agent_python(profile: Profile, answer: Result) -> Line:
    """Of this node: the nodes of the job, and their containers, may have other ones."""
    found = agent_python.read(answer)
    if found is None:
        return Line("not checked", "agent", answer.brief)
    if found.python is None:
        detail = f"no Python {agent_python.OLDEST} or later for the node agent: {found.seen or 'none at all'}"
        return Line("FAIL", "agent", detail, "agent_python = a path that all nodes have")
    detail = f"{found.python} is {found.version}{f'; {found.seen}' if found.seen else ''}"
    if profile.agent_python not in (None, found.python):
        return Line("warn", "agent", detail, "agent_python = a path that all nodes have, or none")
    return Line("ok", "agent", detail)


def _venv_archive(path: str, answer: Result) -> Line:
    fault = venv_archive.fault(answer)
    if fault:
        return Line("FAIL", "python", f"venv_archive {path}: {fault}", f"tar -czf {path} -C ENVIRONMENT .")
    return Line("ok", "python", f"in {path}, which each node unpacks")


def _training_python(profile: Profile, python: str, answer: Result) -> Iterator[Line]:
    if container.image_of(profile, "profile"):
        yield Line("not checked", "python", f"{python} of the container")
        return
    excuse = "setup_lines may bring it; they were not run" if profile.setup_lines else None
    text = answer.text if answer.code != probes.LATE else answer.brief
    yield from diagnosis.training_python(python, answer.code, text, excuse)


def _container(profile: Profile, answers: Results) -> Iterator[Line]:
    image = container.cached_image(profile)
    runtime = profile.container_runtime or container.PYXIS
    pyxis = answers["pyxis"].code == 0
    needed = image is not None and runtime == container.PYXIS
    if pyxis:
        yield Line("ok", "pyxis", "there")  # it tells its version to nobody
    elif needed:
        yield Line("FAIL", "pyxis", "srun has no --container-image", "no container_image: python, setup_lines")
    else:
        yield Line("ok", "pyxis", "not there; only container_image needs it")
    for name, answer, wanted in (
        ("enroot", answers["enroot"], needed and profile.image_cache is not None),
        ("apptainer", answers["apptainer"], image is not None and runtime != container.PYXIS),
    ):
        if answer.code == 0:
            yield Line("ok", name, answer.brief)
        elif wanted:
            yield Line("warn", name, "not on the login node; the compute nodes may have it", "ask for it there")
    if image is not None:
        yield _image(image, answers["image"], profile.image_cache is not None)


def _image(image: Image, answer: Result, cached: bool) -> Line:
    if image.path is None:
        detail = f"{image.for_docker}: every node fetches it from the registry at the job's start"
        return Line("not checked", "image", detail, "a .sqsh on a file system that all nodes see starts faster")
    fault = sqsh.fault(answer)
    if fault and fault.endswith("Permission denied"):
        return Line("FAIL", "image", f"{image.path}: {fault}", "chmod a+r")
    if fault:
        fix = "python launch.py image PROFILE import" if cached else f"enroot import -o {image.path} docker://..."
        return Line("FAIL", "image", f"{image.path}: {fault}", fix)
    return Line("ok", "image", image.path)
