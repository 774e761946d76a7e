"""What Slurm says of a job and what the job has written itself, and what both mean together."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import Any

from automodel_launch import contract
from automodel_launch.executors.slurm import waiting
from automodel_launch.jobs import container_errors, jobdir, start_logs
from automodel_launch.jobs.jobdir import parse as parse_json
from automodel_launch.jobs.records import DIRECTORY_GONE, Status
from automodel_launch.remote.slurm_query import Answer

# What slurmstepd writes into the batch script's log; srun's own end hides it from Slurm's state of the job.
_OOM = re.compile(r"oom[-_ ]kill|tasks? [\d,-]+: Out Of Memory", re.I)
_DUE_TO = re.compile(r"DUE TO (TIME LIMIT|PREEMPTION|NODE FAILURE)")
_CAUSES = {"TIME LIMIT": "TIMEOUT", "PREEMPTION": "PREEMPTED", "NODE FAILURE": "NODE_FAIL"}
LOG_TAIL = 4096
_NEVER_BEGAN = "cancelled in the queue, or lost: it has begun nothing, and Slurm no longer knows it"
_UNSAID = "unsaid"  # in what stands for an exit.json: why there is none
_UNWRITTEN = {_UNSAID: "it left no exit.json, as where its disk is full; its node's record and Slurm tell its end"}
_GOES_ON = "python launch.py resume JOB goes on"
LATE_S = 20  # after a job's own end Slurm's RUNNING is late: slurmctld was away, or an epilog takes its time


@dataclass(frozen=True)
class Own:
    """What the job itself has left: exit.json, node 0's heartbeat, and the end of the batch script's log."""

    exit: dict[str, Any] | None = None
    node: dict[str, Any] | None = None
    log: str = ""
    log_name: str | None = None
    step: tuple[str, ...] = ()  # the step's log, in the lines that speak of a container
    step_log: str | None = None
    stopped: bool = False  # somebody has made the job's stop file
    paused: str = ""  # or the run's, which is this one
    gone: bool = False  # there is no such directory
    resumed: bool = False  # the job that waits was submitted by a person, not by the attempt before it
    slurm_id: str = ""  # of the job that is spoken of
    chained: bool = False  # there may be further attempts: exit.json says whether, once that is decided
    age: int = 0  # seconds since exit.json was written, if that was after the job that is spoken of had begun
    restarts: int | None = None  # of a job that Slurm is completing: how often it has requeued it, also just now

    @property
    def over(self) -> bool:
        """The last attempt has ended, and there shall be no other unless a person resumes the job."""
        return bool(self.exit and (self.exit.get("goes_on") is False or self.exit["state"] == contract.COMPLETED))

    @property
    def final(self) -> bool:
        """The same, and also of a job with one attempt, if it has ended by itself or by a stop file.

        One that a signal has ended may have been preempted, and be queued again.
        """
        record = self.exit or {}
        decided = "goes_on" in record or not self.chained
        itself = record.get("state") == contract.FAILED or self.stopped or bool(self.paused)
        return self.over or (bool(record.get("complete")) and decided and itself and not self.goes_on)

    @property
    def goes_on(self) -> bool:
        """A chained job whose last attempt has ended, and that shall have another one."""
        return bool(self.exit and self.exit.get("goes_on"))


def query_own(job_dir: str, run_dir: str) -> str:
    """Bash lines behind those of `query`, for `read_own`. The log's end is sent of an ended job only.

    Of a job that runs they start no process but what asks Slurm: many people follow their jobs on one login node.
    """
    job, run = shlex.quote(job_dir), shlex.quote(run_dir)
    return f"""
for _ in {job}/*; do break; done # a network file system otherwise remembers for a minute that exit.json is not there
content() {{ text=; [ ! -f "$1" ] || IFS= read -r -d '' text 2>/dev/null < "$1"; }}
[ -d {job} ] || echo own gone yes
[ ! -e {job}/{contract.STOP} ] || echo own stopped yes
[ ! -e {run}/{contract.STOP} ] || echo own paused {run}/{contract.STOP}
[ "$next" = - ] || [ "$(cat {job}/{contract.RESUME} 2>/dev/null)" != "$next" ] && [ "$next" != "$submitted" ] ||
  echo own resumed yes
content {job}/{contract.AGENT}
[[ $text != *'"chain": {{'* ]] || echo own chained yes
if [ -e {job}/{contract.EXIT} ] && written=$(stat -c %Y {job}/{contract.EXIT} 2>/dev/null); then
  IFS='|' read -r _ _ begun _ <<< "$out" # of squeue; a job that has begun since then is another attempt
  [ "$(date -d "$begun" +%s 2>/dev/null || echo 0)" -gt "$written" ] || echo "own age $(($(date +%s) - written))"
fi
case $out in COMPLETING'|'*)
  shown=$(timeout 10 scontrol -o show job "$id" 2>/dev/null)
  echo "own restarts $(sed -n 's/.* Restarts=\\([0-9]*\\).*/\\1/p' <<< "$shown")" ;;
esac
echo "own slurm_id $id"
for name in {contract.EXIT} {contract.node_file(0)}; do
  content {job}/"$name"; printf 'own %s %s\\n' "$name" "${{text//$'\\n'}}"
done
if [ -n "$ended" ]; then
{start_logs.question(job_dir)}
  for log in {job}/{contract.LOGS}/{start_logs.BATCH.format(id='"$id"')}; do
    [ -f "$log" ] || continue
    echo "own log $(basename "$log")"
    tail -c {LOG_TAIL} "$log" | tr -d '\\000' | sed 's/^/own log| /'
    echo
  done
fi
:
"""


def read_own(text: str) -> Own:
    """Read the output of `query_own`."""
    found: dict[str, str] = {}
    lines: dict[str, list[str]] = {"log|": [], "step|": []}
    for line in text.splitlines():
        source, _, rest = line.partition(" ")
        name, _, said = rest.partition(" ")
        if source == "own" and name in lines:
            lines[name].append(said)
        elif source == "own":
            found[name] = said
    names = {key: f"{contract.LOGS}/{found[key]}" if key in found else None for key in ("log", "step_log")}
    return Own(
        jobdir.told_end(parse_json(found.get(contract.EXIT, ""))),
        parse_json(found.get(contract.node_file(0), "")),
        "\n".join(lines["log|"]),
        names["log"],
        tuple(lines["step|"]),
        names["step_log"],
        stopped="stopped" in found,
        paused=found.get("paused", ""),
        gone="gone" in found,
        resumed="resumed" in found,
        chained="chained" in found,
        age=int(age) if (age := found.get("age", "")).isdigit() else 0,
        slurm_id=found.get("slurm_id", ""),
        restarts=int(told) if (told := found.get("restarts", "")).isdigit() else None,
    )


def judge(answer: Answer, own: Own) -> Status:
    """The job's state from what Slurm says and what the job has written itself.

    Slurm decides whether the job is over and why it was ended from outside; the job's own record gives the true exit
    code, rank and error. Where Slurm knows nothing, or only sacct says that the job goes on, the record decides; where
    there is none the state is UNKNOWN.
    """
    own = _completed_by_node(answer, own)
    step = own.node.get("step") if own.node else None
    told, ended = _told(own, step), str((own.exit or {}).get("state"))
    if answer.following and own.over and not own.resumed:  # who waits still, or has come too late, ends as it starts
        return _without_slurm(Answer(True), own, told)
    if answer.state in contract.SLURM_WAITING:
        return _waiting(answer, own, step)
    if answer.state in contract.SLURM_ACTIVE and answer.stale and own.exit and own.exit.get("complete"):
        return _without_slurm(Answer(False), own, told)
    if answer.state in contract.SLURM_ACTIVE and own.final and own.age > LATE_S and not own.resumed:
        return _without_slurm(Answer(True), own, told)
    if answer.state == "COMPLETING" and _is_tidying_up(own):
        return _without_slurm(Answer(True), own, {**told, "error": told["error"] or contract.MEANINGS.get(ended)})
    if answer.state in contract.SLURM_ACTIVE and not (answer.state == "COMPLETING" and _completed(own)):
        return _active(answer, own, step)
    if _is_lost(answer, own):
        state = contract.SLURM_FAILURES[str(answer.state)]
        said = f"{contract.MEANINGS[state]}, and no further attempt is queued"
        more = {"error": said, "code": told["code"] or 1, "advice": _GOES_ON}
        return Status(state, **{**told, **more}, stuck=True)
    if _is_stuck(answer, own):
        return _stuck(answer, own, told)
    if answer.state is None:
        return _without_slurm(answer, own, told)
    if answer.state in ("COMPLETED", "COMPLETING"):
        if own.exit:
            return Status(own.exit["state"], **told)
        lost = "its directory is gone" if own.gone else "the job left no record of its end"
        said = f"Slurm calls it completed, but {lost}"
        return Status("UNKNOWN", error=said, step=step, forgotten=True)
    if answer.state not in contract.SLURM_FAILURES:  # a later Slurm's word: it may mean anything
        return Status("UNKNOWN", error=f"Slurm says {answer.state}, which this version does not know", step=step)
    return _failed(contract.SLURM_FAILURES[answer.state], answer, own, told)


def _completed_by_node(answer: Answer, own: Own) -> Own:
    """With the end that node 0's agent has told, where that was completion: neither it nor the batch script lived to
    write exit.json, or their disk was full. A chain's next attempt does that; where there is none, and of several
    nodes, Slurm's word for the batch script's end counts, which is 0 only where all agents have ended well."""
    busy = answer.state in contract.SLURM_WAITING or answer.state in contract.SLURM_ACTIVE
    if own.exit or busy or not answer.asked:
        return own
    code = (own.node or {}).get("code")
    if answer.state == contract.COMPLETED and not answer.following and own.node and not code:
        told = {key: own.node.get(key) for key in ("started", "step", "attempt")}
        return replace(own, exit={**told, **_UNWRITTEN, "complete": True, "state": contract.COMPLETED, "code": 0})
    if own.chained:
        return own
    found = jobdir.end_by_node(own.node)
    return replace(own, exit={**found, **_UNWRITTEN}) if found and found["state"] == contract.COMPLETED else own


def _is_tidying_up(own: Own) -> bool:
    """Whether a job with one attempt has ended for good, such as by a person's scancel, and only an epilog, or a node
    that is slow to answer, keeps Slurm at it: no requeue has been counted since that attempt began."""
    record = own.exit or {}
    ended = bool(record.get("complete")) and not own.chained and not own.resumed and own.age > LATE_S
    return ended and own.restarts is not None and own.restarts == record.get("attempt")


def _is_lost(answer: Answer, own: Own) -> bool:
    """Whether an attempt of a chain is gone with its nodes, so that it has left no word, and nobody is behind it."""
    there = answer.asked and not answer.stale and not answer.following
    gone = contract.SLURM_FAILURES.get(str(answer.state)) in (contract.NODE_FAIL, contract.PREEMPTED)
    return there and gone and own.chained and not (own.exit or own.stopped or own.paused)


def _is_stuck(answer: Answer, own: Own) -> bool:
    """Whether a chained job was to go on, and nobody is in the queue any more."""
    ended = answer.asked and not answer.stale and not own.stopped and not own.paused
    return ended and (own.goes_on or answer.following)


def _stuck(answer: Answer, own: Own, told: dict[str, Any]) -> Status:
    """Why there is nobody, and what the last attempt has left."""
    record = own.exit or {}
    why = record.get("why") or record.get("error")
    after = f" (the last one ended with {record['state']}{f': {why}' if why else ''})" if record else ""
    if answer.dropped and not answer.following:
        said = "the Slurm job that was to make the next attempt was taken out of the queue"
        return Status(contract.CANCELLED, **{**told, "error": f"{said}{after}", "code": told["code"] or 1})
    said = "no further attempt is queued, though there was to be one"
    if answer.following:
        words = _last_words(own.log)
        said += f": the Slurm job for it ended ({answer.state}{f', {words}' if words else ''}) before it began one"
        told = {**told, "log": own.log_name or told["log"], "rank": None, "node": answer.nodes}
    told |= {"error": f"{said}{after}", "code": told["code"] or 1, "advice": _GOES_ON, "cause": None}
    return Status(contract.FAILED, **told, stuck=True)


def _active(answer: Answer, own: Own, step: int | None) -> Status:
    """Running or suspended; and what is not as it should be."""
    started = own.node.get("started") if own.node else None
    state, reason, advice = contract.RUNNING, None, None
    if answer.state in contract.SLURM_SUSPENDED:
        state, reason = contract.SUSPENDED, "Slurm has stopped its processes (scontrol suspend, or gang scheduling)"
        advice = f"scontrol resume {own.slurm_id}, by an operator, where it was suspended by hand"
    if own.gone:
        reason = DIRECTORY_GONE
        advice = "python launch.py cancel JOB ends it"
    return Status(state, step=step, node=answer.nodes, started=started, reason=reason, advice=advice)


def _waiting(answer: Answer, own: Own, step: int | None) -> Status:
    """Slurm's reason and estimate; a job that waits though it has begun before was requeued, or is a chain's next."""
    said = answer.reason or (answer.state or "").lower()
    words, advice = waiting.meaning(said, own.slurm_id)
    done = f"attempt {(own.node.get('attempt') or 0) + 1}" if own.node else ""
    again = f"requeued after {done}, " if done else ""
    if own.resumed:
        again = f"resumed after {done}, " if done else "resumed, "
    elif answer.following or own.goes_on:
        why = (own.exit or {}).get("why")
        again = f"{done or 'the last attempt'} has ended{f' ({why})' if why else ''}, the next one: "
    estimate = f", estimated start {answer.start}" if answer.start else ""
    reason = f"{again}{said}{f' ({words})' if words else ''}{estimate}"
    held = said == "JobHeldUser"
    return Status(contract.PENDING, step=step, reason=reason, advice=advice, held=held)


def _completed(own: Own) -> bool:
    return bool(own.exit and own.exit["state"] == "COMPLETED")


def _told(own: Own, step: int | None) -> dict[str, Any]:
    record = own.exit or {}
    told: dict[str, Any] = {key: record.get(key) for key in contract.STATUS_KEYS} | jobdir.explained(record)
    told |= {"reason": record.get(_UNSAID)}
    told["step"] = step if told["step"] is None else told["step"]
    told["log"] = told["log"] or own.log_name
    return told


def _without_slurm(answer: Answer, own: Own, told: dict[str, Any]) -> Status:
    """The job's own record alone. While Slurm cannot be asked, one of a job that was stopped by a signal may be that of
    an attempt which was preempted, and is queued again."""
    record = own.exit
    if record is None:
        if own.gone or own.node or own.log_name or own.step_log:
            lost = f"Slurm no longer knows the job, and {'its directory is gone' if own.gone else 'it left no record'}"
        else:
            lost = _NEVER_BEGAN
        said = lost if answer.asked else "Slurm does not answer"
        if answer.asked and own.node is None and (own.stopped or own.paused):  # a task of an array leaves no trace
            stopped = f"{contract.STOPPED_BY}{own.paused}" if own.paused else contract.MEANINGS[contract.CANCELLED]
            return Status(contract.CANCELLED, **{**told, "error": stopped})
        return Status("UNKNOWN", error=said, step=told["step"], forgotten=answer.asked)
    state = record["state"]
    if not answer.asked and not own.final:
        next_one = " of its last attempt; whether the next one has begun is not known" if own.goes_on else ""
        said = f"Slurm does not answer; the job's record says {state}{next_one}"
        return Status("UNKNOWN", error=said, step=told["step"])
    causes = _DUE_TO.findall(own.log)
    if state == "CANCELLED" and causes:
        state = _CAUSES[causes[-1]]
        told["error"] = contract.MEANINGS[state]
    elif state == "FAILED" and _is_memory(own):
        state, told["error"] = "OUT_OF_MEMORY", told["error"] or contract.MEANINGS["OUT_OF_MEMORY"]
    elif state == "FAILED" and contract.NO_AGENT in str(told["error"]):
        _tell_start(own, told)
    return Status(state, **told)


def _failed(state: str, answer: Answer, own: Own, told: dict[str, Any]) -> Status:
    """Slurm's reason wins over the job's own reaction to it; a failure of the job's own keeps its words."""
    record = own.exit or {}
    if record.get(contract.OWN_SCANCEL) and state == contract.CANCELLED:
        return Status(record["state"], **told)
    if record.get("complete") and _completed(own) and state in contract.ENDED_FROM_OUTSIDE:
        return Status(contract.COMPLETED, **told)  # all that was to be done was done by then
    own_failure = record.get("state") == "FAILED" and bool(told["error"])
    if state == "FAILED":
        if record.get("state") in contract.ENDED_FROM_OUTSIDE:
            state = record["state"]
        elif own.stopped and (own.goes_on or not record or contract.NO_AGENT in str(told["error"])):
            state = "CANCELLED"  # between two attempts, or before there was an agent that could have noticed
        if _is_memory(own):
            state = "OUT_OF_MEMORY"
    if state == "OUT_OF_MEMORY":
        detail = f": {told['error']}" if own_failure else ""
        told["error"] = contract.MEANINGS[state] + detail
    elif state == "FAILED" and own.gone:
        told["error"] = "its directory is gone, and with it how it has ended; Slurm tells the batch script's exit code"
    elif state == "FAILED" and (not told["error"] or contract.NO_AGENT in told["error"]):  # Slurm's logs know why
        _tell_start(own, told)
    elif state != "FAILED" and not own_failure:
        said = told["error"] if record.get("state") == state else None
        stopped = f"{contract.STOPPED_BY}{own.paused}" if own.paused and state == "CANCELLED" else None
        told["error"] = said or stopped or contract.MEANINGS[state]
    elif state in contract.ENDED_FROM_OUTSIDE:
        told["error"] = f"{contract.MEANINGS[state]}; the job's own record: {told['error']}"
    if not told["code"]:
        told["code"] = answer.code or (128 + answer.signal if answer.signal else 1)
    if state in (contract.PREEMPTED, contract.NODE_FAIL):
        told["advice"] = _GOES_ON
    return Status(state, **told)


def _tell_start(own: Own, told: dict[str, Any]) -> None:
    """Why the job's agents did not start, and which log says so."""
    reason = container_errors.reason(own.log, own.step)
    if reason and reason.of_step:
        told["log"] = own.step_log
    words = reason.text if reason else _last_words(own.log)
    told["error"] = words or told["error"] or contract.MEANINGS[contract.FAILED]


def _is_memory(own: Own) -> bool:
    error = (own.exit or {}).get("error")
    return bool(_OOM.search(own.log) or (isinstance(error, str) and _OOM.search(error)))


def _last_words(log: str) -> str | None:
    """The last line of the batch script's log that is no trace (`set -x`) and no talk of NeMo-Run's script."""
    lines = [line.strip() for line in log.splitlines() if not line.startswith("+")]
    telling = [
        line for line in lines if re.search(r"error|fatal|unrecognized|not found|No such|denied|cannot", line, re.I)
    ]
    return telling[-1][:300] if telling else None
