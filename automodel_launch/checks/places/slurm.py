"""A Slurm cluster: would it accept the job, and when would it start."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator

from automodel_launch import backends, executors
from automodel_launch.checks import containers, credentials, data, forms, runs, save_interval, storage
from automodel_launch.checks.places import slurm_defaults, slurm_mpi, slurm_python, slurm_venv
from automodel_launch.errors import ClusterError
from automodel_launch.executors.slurm import advice, script
from automodel_launch.plan.finding import Finding
from automodel_launch.plan.plan import Plan
from automodel_launch.remote import disk, login_shell, probes, slurm_site
from automodel_launch.remote.probes import Result, Results
from automodel_launch.remote.shell import Shell

_START = re.compile(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
_PAST, _FUTURE = datetime.timedelta(days=1), datetime.timedelta(days=60)


def findings(plan: Plan) -> Iterator[Finding]:
    """What `sbatch --test-only` says to the plan's script, and what Slurm would only say when the job waits."""
    shell = executors.get(plan.executor).shell(plan.profile)
    yield from ask(plan, shell, script.partition(plan), lambda words: advice.fix(words, plan))


def ask(plan: Plan, shell: Shell, partition: str | None, fix: Callable[[str], str]) -> Iterator[Finding]:
    """The same, of any shell; `fix` turns Slurm's error into advice."""
    yield from gpu_hours(plan)
    backend = backends.of(plan.recipe)
    at_login = {**containers.at_login(plan), **credentials.at_login(plan), **slurm_python.at_login(plan)}
    asked = {
        "test": slurm_site.TEST_ONLY,
        "options": slurm_site.OPTIONS,
        "partitions": slurm_site.PARTITIONS,
        "nodes": slurm_site.NODES,
        "root": disk.probe(plan.job_root),
        "login": login_shell.together(at_login),
        "clock": "printf '%(%Y-%m-%dT%H:%M:%S)T' -1",  # the cluster's: estimates are in its time zone
        **containers.asked(plan),
        **storage.asked(plan),
        **save_interval.asked(plan),
        **data.asked(plan),
        **backend.questions(plan),
        **slurm_python.asked(plan),
        **slurm_venv.asked(plan),
        **slurm_mpi.asked(plan),
        **runs.asked(plan),
        **slurm_defaults.ASKED,
    }
    try:
        answers = probes.run(shell, asked, plan.script.encode("utf-8", "surrogateescape"))
        answers = login_shell.apart(answers, "login", at_login)
    except ClusterError as error:
        yield _unreachable(plan, error.message, error.hint)
        yield from forms.unknown_options(plan)
        return
    yield from _job_root(plan, answers["root"])
    yield from _login_shell(shell, answers["login"])
    yield from containers.answered(plan, answers)
    yield from storage.answered(plan, answers)
    yield from save_interval.answered(plan, answers)
    yield from data.answered(plan, answers)
    yield from backend.judge(plan, answers)
    yield from credentials.answered(plan, answers)
    yield from _test_only(plan, shell, partition, answers, fix)
    yield from _time_limit(plan, partition, answers["partitions"])
    yield from slurm_python.answered(plan, answers)
    yield from slurm_venv.answered(plan, answers)
    yield from slurm_mpi.answered(plan, answers)
    yield from runs.answered(plan, answers)
    names = slurm_site.chosen([partition or ""], slurm_site.partitions(answers["partitions"].text))
    yield from slurm_defaults.findings(plan, names, answers)


def gpu_hours(plan: Plan) -> Iterator[Finding]:
    """What the job may use, where size and time are given."""
    profile = plan.profile
    minutes = slurm_site.minutes(profile.time or "")
    if profile.gpus_per_node and minutes:
        allocated = profile.nodes + profile.spares
        hours = allocated * profile.gpus_per_node * minutes / 60
        counts = ((allocated, "node"), (profile.gpus_per_node, "GPU"))
        nodes, gpus = (f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts)
        size = f"{nodes} x {gpus} x {profile.time}"
        spare = f" ({profile.spares} of the nodes spare)" if profile.spares else ""
        message = f"{size}{spare} = {hours:,.1f} GPU-hours asked for; world size {plan.world_size}."
        yield Finding("note", "gpu-hours", message)


def _unreachable(plan: Plan, said: str, fix: str | None = None) -> Finding:
    message = f"the cluster could not be asked, and a submission would fail: {said}"
    return Finding("warning", "unreachable", message, fix or f"{_doctor(plan)}; --offline asks nothing")


def _doctor(plan: Plan) -> str:
    return f"python launch.py doctor {plan.profile_name}"


def _job_root(plan: Plan, answer: Result) -> Iterator[Finding]:
    found = disk.read(plan.job_root, answer)
    error = found.error
    if not error:
        yield from storage.room(plan, found)
    else:
        source = plan.profile_sources.get("remote_job_dir", plan.profile_name)
        message = f"remote_job_dir = {plan.job_root} ({source}): cannot be written: {error}"
        yield Finding("error", "job-root", message, "a directory that you may write, or make, on the cluster")


def _login_shell(shell: Shell, answer: Result) -> Iterator[Finding]:
    lost = login_shell.lost(answer)
    if lost:
        message = f"{shell.place}: {lost}: Slurm gives jobs no variable of yours then, not even HOME."
        yield Finding("warning", "login-shell", message, login_shell.FIX)


def _test_only(
    plan: Plan, shell: Shell, partition: str | None, answers: Results, fix: Callable[[str], str]
) -> Iterator[Finding]:
    answer = answers["test"]
    waits = _waits(plan, partition, answers)
    if answer.code and slurm_site.unanswered(answer.code, answer.text):
        yield _unreachable(plan, f"{shell.place}: {answer.brief}")
        yield from forms.unknown_options(plan, slurm_site.options(answers["options"].text))
    elif waits and (answer.code == 0 or slurm_site.lacks_nodes(answer.text)):
        yield Finding("warning", "waits", f"{waits}; the job would wait.", _doctor(plan))
    elif answer.code == 0:
        yield from _start(answer.text, answers["clock"].text)
    else:
        said = slurm_site.message(answer.text)
        message = f"{shell.place}: sbatch refuses the script: {said}"
        there = _there(partition, answers) if slurm_site.lacks_nodes(answer.text) else ""
        option = forms.without_option(plan, said, slurm_site.options(answers["options"].text))
        yield Finding("error", "sbatch-refuses", f"{message}{there}", option or fix(said))


def _there(partition: str | None, answers: Results) -> str:
    """`; batch has 4 nodes of 8 GPUs`: what the nodes of the partition are, where sbatch says that none fits."""
    names = slurm_site.chosen([partition or ""], slurm_site.partitions(answers["partitions"].text))
    counts: dict[tuple[str, int], int] = {}
    for group in slurm_site.nodes(answers["nodes"].text):
        if group.partition in names:
            counts[group.partition, group.gpus] = counts.get((group.partition, group.gpus), 0) + group.count
    return "".join(f"; {name} has {count} nodes of {gpus} GPUs" for (name, gpus), count in counts.items())


def _waits(plan: Plan, partition: str | None, answers: Results) -> str | None:
    """What is down, and comes back: --test-only knows nothing of partitions' states, and takes nodes that are down for
    nodes that are not there, where sbatch itself takes the job (seen with 22.05).
    """
    found = slurm_site.partitions(answers["partitions"].text)
    names = slurm_site.chosen([partition or ""], found)
    down = [other for other in found if other.name in names and other.state != "UP"]
    if down and len(down) == len(names):
        return ", ".join(f"partition {other.name} is {other.state}" for other in down)
    groups = [group for group in slurm_site.nodes(answers["nodes"].text) if group.partition in names]
    fitting = [group for group in groups if group.gpus >= (plan.profile.gpus_per_node or 0)]
    up = sum(group.count for group in fitting if group.up)
    if up < plan.nodes + plan.profile.spares <= sum(group.count for group in fitting):
        return f"only {up} of the nodes that it needs are up in {', '.join(names)}"
    return None


def _start(said: str, clock: str) -> Iterator[Finding]:
    """Slurm's estimate, unless it is impossible: it may be the year 2154, or 1970."""
    match = _START.search(said)
    try:
        start = datetime.datetime.fromisoformat(match[1] if match else "")
        now = datetime.datetime.fromisoformat(clock)
    except ValueError:
        return
    if now - _PAST <= start <= now + _FUTURE:
        when = "now" if start <= now + datetime.timedelta(minutes=1) else f"at {start:%Y-%m-%d %H:%M} (cluster's time)"
        yield Finding("note", "estimated-start", f"Slurm would start it {when}, as the queue is now.")


def _time_limit(plan: Plan, partition: str | None, answer: Result) -> Iterator[Finding]:
    """Slurm accepts a job whose time no partition allows, and never starts it (PartitionTimeLimit)."""
    found = slurm_site.partitions(answer.text)
    names = slurm_site.chosen([partition or ""], found)
    limits = [other.max_minutes for other in found if other.name in names]
    asked = slurm_site.minutes(plan.profile.time or "")
    if asked is None or not limits or any(limit is None or asked <= limit for limit in limits):
        return
    most = max(limit for limit in limits if limit is not None)
    source = plan.profile_sources.get("time", plan.profile_name)
    message = f"time = {plan.profile.time} ({source}): partition {', '.join(names)} allows {most:,} minutes at most."
    # a quality of service can lift a partition's limit
    fix = f'time = "{most // 60:02}:{most % 60:02}:00"'
    yield Finding("warning" if plan.profile.qos else "error", "time-limit", message, fix)
