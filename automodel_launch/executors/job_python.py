"""The Python of a plan's job, started before there is a job: where that can be done without a queue, and how."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automodel_launch.executors.forms import words

if TYPE_CHECKING:
    from automodel_launch.plan.plan import Plan
    from automodel_launch.remote.shell import Shell

TEMPORARY = "/tmp"  # on a machine of which nothing is known
_OF_A_NODE = re.compile(r"/(usr|bin|sbin|opt|tmp|var)/")  # each machine may have other packages there


@dataclass(frozen=True)
class JobPython:
    """How it is started, as words of bash that the script's path and its arguments follow.

    They may use `$scratch`, a directory of this start alone, and `$name`, that directory's own name.

    Attributes:
        shell: of the machine where the words are run.
        start: the words.
        where: for messages, behind `on` or `in`: "on this machine", "in one task of srun".
        own: it is the very one of the job, so that a package that it lacks the job lacks.
        parent: an absolute directory that both the shell and the Python see, for `$scratch`; made where it is missing.
        stop: a line of bash that ends what would outlive these words (a container); "" where nothing would.
        identity: words of bash that print what stands for its packages (an image's id), where the Python itself would
            cost too much to ask; None: it is asked.
        known: packages and what they depend on can be told at all, so that an answer may be kept.
        waits_s: seconds that it may wait before it starts.
    """

    shell: Shell
    start: str
    where: str
    own: bool
    parent: str = TEMPORARY
    stop: str = ""
    identity: str | None = None
    known: bool = True
    waits_s: float = 0.0


@dataclass(frozen=True)
class NotAtHand:
    """Why it cannot be started here, and what would change that."""

    reason: str
    fix: str | None = None


def is_the_nodes(plan: Plan) -> bool:
    """No container has it, and no line of the profile may bring it."""
    profile = plan.profile
    brought = plan.image or profile.setup_lines or profile.startup_commands or "PATH" in profile.env_vars
    return not brought and not profile.venv_archive and not words.has_arguments(plan.agent["python"])


def is_shared(python: str) -> bool:
    """A path at which all machines of a cluster have most likely the same one: a virtual environment of a person's."""
    return python.startswith("/") and not _OF_A_NODE.match(python)


def of_login_node(plan: Plan, shell: Shell, where: str) -> JobPython | NotAtHand:
    """The Python of a job on bare nodes, on a machine like them; jobs have a login shell's variables."""
    python = plan.agent["python"]
    if plan.image:
        return NotAtHand(
            f"the job's Python is that of the image {plan.image}",
            'rehearse_in = "srun" in the profile asks Slurm for one task in it, which may have to wait for a node',
        )
    if not is_the_nodes(plan) and not (is_shared(python) and not words.has_arguments(python)):
        source = plan.source("python")
        return NotAtHand(
            f"setup_lines, startup_commands or env_vars bring the job's Python, and python = {python} ({source}) alone"
            " need not be it",
            "python = the absolute path of that Python, in the profile",
        )
    inner = f'unset {" ".join(plan.profile.secrets)}; exec "$0" "$@"' if plan.profile.secrets else 'exec "$0" "$@"'
    return JobPython(shell, f"bash -lc {shlex.quote(inner)} {shlex.quote(python)}", where, own=is_shared(python))
