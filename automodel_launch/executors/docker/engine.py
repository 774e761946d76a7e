"""The Docker engine of a job: commands, a container's state, pulling an image, and what its errors mean."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from typing import Any

from automodel_launch.errors import ClusterError
from automodel_launch.jobs import container_advice
from automodel_launch.remote.shell import Done, LocalShell

WHICH = ("DOCKER_HOST", "DOCKER_CONTEXT")  # which engine it was
_GONE = ("No such container", "No such object", "no such container", "is not running")


def run(handle: dict[str, Any], script: str, timeout: float = 60.0) -> Done:
    """Run a script where `docker` means the job's engine, whatever this shell's own is."""
    return LocalShell().run(chosen(handle) + script, timeout=timeout)


def chosen(handle: dict[str, Any]) -> str:
    """Lines of bash with which `docker` means the job's engine."""
    given = {name: f"export {name}={shlex.quote(handle[name])}\n" for name in WHICH if name in handle}
    return "".join(given.get(name, f"unset {name}\n") for name in WHICH)


def state(handle: dict[str, Any]) -> str | None:
    """`running` and the like, or None where there is no such container any more.

    Raises:
        ClusterError: the engine does not answer.
    """
    done = run(handle, f"docker container inspect --format '{{{{.State.Status}}}}' {shlex.quote(handle['container'])}")
    if done.code == 0:
        found = done.out.strip()
        return None if found in ("exited", "dead", "removing") else found
    if any(words in done.err for words in _GONE):
        return None
    raise ClusterError(f"Docker: {brief(done)}", advice(done.err))


def pull(handle: dict[str, Any], image: str) -> None:
    """Fetch an image that is not there, with Docker's own progress; one that is there is left as it is."""
    if run(handle, f"docker image inspect {shlex.quote(image)}").code == 0:
        return
    environ = {name: value for name, value in os.environ.items() if name not in WHICH}
    environ.update({name: handle[name] for name in WHICH if name in handle})
    with tempfile.NamedTemporaryFile("r", errors="replace") as said:
        # its progress goes to this terminal itself, and its errors there as well as into the file
        command = (
            f"{{ docker pull {shlex.quote(image)} 2>&1 >&3 | tee {said.name} >&2; exit ${{PIPESTATUS[0]}}; }} 3>&2"
        )
        code = subprocess.run(["bash", "-c", command], stdout=sys.stderr, env=environ, check=False).returncode
        fix = container_advice.of(said.read()) or "is the name right, and `docker login` done?"
    if code:
        raise ClusterError(
            f"docker pull {image} failed (exit code {code}).",
            f"{fix}; `docker images` lists what is here; docs/containers.md",
        )


def brief(done: Done) -> str:
    """The words of an error in one line, without advice on usage."""
    lines = [line for line in done.err.splitlines() if line and not re.match("(See|Run) .*--help|Usage:", line)]
    return " ".join(lines)[-400:] or f"exit code {done.code}"


def advice(err: str) -> str:
    """What may fix an error of Docker's."""
    if "Cannot connect" in err or "docker: command not found" in err:
        return "is Docker installed and running? DOCKER_HOST names another engine's socket; `docker version` tests it"
    if "permission denied" in err and "connect" in err:
        return "this user may not use Docker: ask for membership in the group docker, or use a rootless engine"
    if "invalid mount option" in err:
        return "mounts: podman cannot carry a comma in a path; a link to the directory can have another name"
    return container_advice.of(err) or "--dry-run shows the script"
