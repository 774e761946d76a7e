"""`on_checkpoint`: a job of its own for each complete checkpoint of the run, that evaluates it.

    JOB_DIR/on-checkpoint/                what such a job is made of; the launcher has planned and checked it
    CHECKPOINTS/evaluations/NAME.job.json of each checkpoint that has one: objects of contract.EVALUATION_JOB_KEYS

`watch` runs beside the batch script, where Slurm's commands are though the training may be in a container; it touches
nothing of the training's, and ends with the script. What it has not come to is done by `finish`. A checkpoint whose
marker is there has had its job, whatever became of that: at most one is submitted, also with two who look at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from typing import Callable

import contract

from . import chain, sharing, slurm
from .files import Json, create_json, write_json, write_text
from .log import complain

_EVERY_S = 15.0
_TRIES, _BETWEEN_S = 3, 5.0  # of sbatch: it may have answered late, or slurmctld has been busy
_BY_HAND = "`launch.py evaluate RUN:STEP` does it"
Say = Callable[[str], None]


def shell_line(job_dir: str) -> list[str]:
    """For the batch script: what starts `watch` beside it; nothing where the job has nothing to submit."""
    if not os.path.isdir(_template(job_dir)):
        return []
    log = f"{job_dir}/{contract.LOGS}/{contract.ON_CHECKPOINT}.log"
    return [f"sh '{job_dir}/{contract.NODE_AGENT_SH}' watch '{job_dir}' </dev/null >>'{log}' 2>&1 &"]


def main(job_dir: str) -> int:
    """The `watch` command: until its batch script is gone."""
    script = os.getppid()
    orders = chain.order(job_dir)
    if orders is None or not os.path.isdir(_template(job_dir)):
        return 0
    sharing.follow_job(job_dir)
    before: set[str] = set()
    while os.getppid() == script:
        before = look(orders, before, _say)
        due = time.monotonic() + _EVERY_S
        while os.getppid() == script and time.monotonic() < due:
            time.sleep(1.0)
    return 0


def look(orders: chain.Order, before: set[str], say: Say) -> set[str]:
    """Submit what was complete at the look before this one, too; those that are complete now.

    A save makes its directory first, and then the mark in it.
    """
    found = _complete(orders)
    for path in found:
        if path in before and not _submit(orders, path, _TRIES, say):
            break
    return set(found)


def last_look(job_dir: str, say: Say = complain) -> None:
    """After the training's end: what is complete now stays as it is. Never raises."""
    try:
        orders = chain.order(job_dir) if os.path.isdir(_template(job_dir)) else None
        if orders is not None:
            all(_submit(orders, path, 1, say) for path in _complete(orders))  # where Slurm is away, it is asked once
    except Exception as error:  # a full disk, or records that somebody has edited: no reason for another exit code
        say(f"{contract.ON_CHECKPOINT}: {error}")


def _complete(orders: chain.Order) -> list[str]:
    found = [one for one in orders.backend.checkpoints(orders.checkpoints) if one.complete]
    return [one.path for one in sorted(found, key=lambda one: one.step)]


def _submit(orders: chain.Order, checkpoint: str, tries: int, say: Say) -> bool:
    """The checkpoint's job, unless it has had one or is evaluated; False where that went wrong, as the marker tells."""
    folder, name = os.path.split(checkpoint)
    folder = os.path.join(folder, contract.EVALUATIONS)
    marker = os.path.join(folder, name + contract.EVALUATION_JOB)
    if os.path.exists(marker) or os.path.exists(os.path.join(folder, f"{name}.json")):
        return True
    told: Json = dict.fromkeys(contract.EVALUATION_JOB_KEYS)
    told.update(checkpoint=name, time=time.time(), by=orders.job_id)
    try:
        os.makedirs(folder, exist_ok=True)
        texts = _texts(orders.job_dir, name)
        told["job_dir"] = job_dir = _named(texts)
        if not create_json(marker, told):
            return True
    except (OSError, ValueError) as error:  # no marker: it is tried again
        say(f"{name} is not evaluated: {error}")
        return False
    try:
        _make(orders, job_dir, texts)
        told["slurm_id"] = _handed_over(job_dir, tries)
        say(f"{name}: Slurm job {told['slurm_id']} evaluates it, in {job_dir}")
    except (OSError, slurm.SlurmError) as error:
        told["error"] = " ".join(str(error).split())
        if isinstance(error, FileExistsError):  # the directory is another job's, and tells nothing of this one
            told["job_dir"] = None
        say(f"{name} is not evaluated: {told['error']} ({_BY_HAND})")
    with contextlib.suppress(OSError):  # the marker stays, and is enough
        write_json(marker, told)
    return told["error"] is None


def _template(job_dir: str) -> str:
    return os.path.join(job_dir, contract.ON_CHECKPOINT)


def _texts(job_dir: str, checkpoint: str) -> dict[str, str]:
    """The job's files, with the checkpoint's name in the mark's place."""
    folder, found = _template(job_dir), {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            found[name] = file.read().replace(contract.THIS_CHECKPOINT, checkpoint)
    return found


def _named(texts: dict[str, str]) -> str:
    return str(json.loads(texts[contract.AGENT])["job_dir"])


def _make(orders: chain.Order, job_dir: str, texts: dict[str, str]) -> None:
    """The job's directory; what another one has left there is nobody's to overwrite.

    Raises:
        OSError: it is there, or cannot be written.
    """
    os.makedirs(job_dir.rpartition(".")[0], exist_ok=True)
    os.mkdir(job_dir)
    try:
        os.mkdir(os.path.join(job_dir, contract.LOGS))
        code = os.path.join(orders.job_dir, contract.CODE)
        shutil.copytree(code, os.path.join(job_dir, contract.CODE), symlinks=True)
        for name, text in texts.items():
            write_text(os.path.join(job_dir, name), text)
        if json.loads(texts[contract.AGENT]).get("secrets_file"):
            _pass_secrets_on(orders.job_dir, job_dir)
    except OSError:  # shutil.Error, too
        shutil.rmtree(job_dir, ignore_errors=True)
        raise


def _pass_secrets_on(job_dir: str, to: str) -> None:
    """For the owner alone, from its first byte; it is removed at that job's end, as everywhere."""
    try:
        with open(os.path.join(job_dir, contract.SECRETS), "rb") as file:
            content = file.read()
    except FileNotFoundError:  # the training's end has removed it: another launcher was at it
        raise OSError(f"{contract.SECRETS} of {job_dir} is gone") from None
    fd = os.open(os.path.join(to, contract.SECRETS), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _handed_over(job_dir: str, tries: int) -> str:
    """Its Slurm id. A job that Slurm may have in spite of sbatch's answer is never submitted again.

    Raises:
        SlurmError: it refuses; then nothing is left of the directory, so that no secret stays there.
    """
    for left in reversed(range(tries)):
        try:
            return slurm.submit(os.path.join(job_dir, contract.SCRIPT))
        except slurm.SlurmError as error:
            refused = error
            waiting = slurm.waiting_in(job_dir)
            if waiting:
                return waiting[0]
            if waiting is None or os.path.exists(os.path.join(job_dir, contract.CHAIN)):
                raise slurm.SlurmError(f"whether Slurm has taken the job is not known: {error}") from None
        if left:
            time.sleep(_BETWEEN_S)
    shutil.rmtree(job_dir, ignore_errors=True)
    raise refused


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)
