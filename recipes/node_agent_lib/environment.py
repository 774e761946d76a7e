"""The environment that the training gets: this process's, the order's, the secrets', and what the setup made of it."""

from __future__ import annotations

import os
import signal
import time

import contract

from . import messages, procs, redaction
from .control import Control
from .errors import NodeFailure, Stopped
from .journal import Journal
from .spec import Spec
from .startup import SecretsMissing, Startup, secrets_in
from .ulimits import Ulimits


def make(spec: Spec, journal: Journal, control: Control, directory: str) -> tuple[dict[bytes, bytes], Ulimits]:
    """Run setup lines and startup commands, if there are any; `directory` is private to the agent.

    With the environment comes what they have set by `umask` and `ulimit`.

    Raises:
        NodeFailure: a directory is missing, a command failed, or another node has failed meanwhile.
        Stopped: the job was asked to stop meanwhile.
    """
    if not os.path.isdir(spec.code_dir):
        raise NodeFailure(contract.CANNOT_BE_USED, f"code_dir {spec.code_dir} is not a directory")
    if not os.path.isdir(spec.directory):
        error = f"working directory {spec.directory}: there is none on this node or in its container"
        raise NodeFailure(contract.CANNOT_BE_USED, error)
    environ = {**os.environb, **_job_variables(spec)}
    environ.update({_encode(name): _encode(value) for name, value in spec.env.items()})
    if not spec.setup_lines and not spec.startup_commands and spec.secrets_file is None:
        return environ, Ulimits()
    return _start_up(spec, journal, control, directory, environ)


def _start_up(
    spec: Spec, journal: Journal, control: Control, directory: str, environ: dict[bytes, bytes]
) -> tuple[dict[bytes, bytes], Ulimits]:
    log, commands = journal.log, spec.setup_lines + spec.startup_commands
    journal.record.phase, journal.record.phase_since = contract.PHASE_STARTUP, time.time()
    journal.enter(contract.NODE_STARTUP)
    try:
        startup = Startup(directory, commands, spec.secrets_file)
    except SecretsMissing as missing:
        raise NodeFailure(1, str(missing)) from None
    redaction.arm(secrets_in(spec.secrets_file))
    log.say(f"startup: {len(commands)} lines")
    written = log.size()
    code = wait(control, startup.start(spec.directory, environ, log.output))
    outcome = startup.outcome()
    redaction.arm([os.fsdecode(value) for value in outcome.secrets.values()])
    redaction.arm_environment(decoded(outcome.environ or {}))
    if code != 0 or outcome.environ is None:
        raise NodeFailure(code or 1, messages.startup_error(code, outcome, log.since(written)))
    return outcome.environ, outcome.ulimits


def decoded(environ: dict[bytes, bytes]) -> dict[str, str]:
    """The same as strings."""
    return {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}


def wait(control: Control, pid: int) -> int:
    """The exit code of a child, before there are ranks.

    Raises:
        NodeFailure: another node has failed meanwhile.
        Stopped: the job was asked to stop; the child is.
    """
    while pid not in control.loop.ended:
        control.tick()
        if control.stop is not None:
            procs.send(pid, signal.SIGTERM, group=True)
            raise Stopped
        if control.peers.failed:
            raise NodeFailure(1, "ended during startup: another node failed", victim=True)
    return procs.exit_code(control.loop.ended.pop(pid))


def _job_variables(spec: Spec) -> dict[bytes, bytes]:
    """What every script and startup command may read; the order's own env may say otherwise."""
    values = {
        contract.JOB_ID_VAR: spec.job_id,
        contract.JOB_DIR_VAR: spec.job_dir,
        contract.RUN_NAME_VAR: spec.run_name,
        contract.RUN_DIR_VAR: spec.run_dir,
    }
    return {_encode(name): _encode(value) for name, value in values.items()}


def _encode(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
