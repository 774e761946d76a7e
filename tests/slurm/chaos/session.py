"""A session: fault after fault, each on a run of its own, until the time is over."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.slurm.chaos import checks, draw
from tests.slurm.chaos.case import ENDS_S, Case
from tests.slurm.chaos.kinds import Kind, load
from tests.slurm.chaos.place import Place
from tests.slurm.chaos.tally import BROKEN, LIE, Finding, Tally

RESUMES = 3


class Session:
    """`names` of the kinds to draw from, `keep` a folder for what faulty runs leave. Prints a line a fault."""

    def __init__(self, seed: int, names: Sequence[str], keep: Path | None = None) -> None:
        self.kinds = load()
        self.seed, self.names, self.keep = seed, tuple(names) or tuple(self.kinds), keep
        self.tally = Tally(seed)

    def run(self, minutes: float, only: int | None = None) -> Tally:
        """Faults until the time is over, or one of them."""
        began = time.monotonic()
        place = Place()
        try:
            place.up()
            number = only or 0
            while only == number or (only is None and time.monotonic() - began < 60 * minutes):
                self._fault(place, number)
                number += 1
        finally:
            place.down()
            print(self.tally.summary((time.monotonic() - began) / 60), flush=True)
        return self.tally

    def _fault(self, place: Place, number: int) -> None:
        kind = self.kinds[draw.kind(self.seed, number, self.names)]
        began = time.monotonic()
        place.begin(number)
        case = Case(place, number, draw.details(self.seed, number))
        try:
            found = _play(case, kind)
        except Exception:  # a mistake here must not end the session
            found = [*case.found, Finding(BROKEN, traceback.format_exc())]
        found = [*dict.fromkeys(found), *_heal(case)]
        self.tally.add(number, kind.name, found)
        self._tell(case, kind, found, time.monotonic() - began)

    def _tell(self, case: Case, kind: Kind, found: list[Finding], seconds: float) -> None:
        details = f" ({', '.join(case.told)})" if case.told else ""
        verdict = "held" if not found else f"{len(found)} found"
        print(f"{case.number:3d} {seconds:4.0f} s  {kind.name}{details}: {verdict}", flush=True)
        for finding in found:
            print(f"      {finding.heading.upper()}: {finding.what}", flush=True)
        if found:
            again = f"scripts/chaos --seed {self.seed} --kinds {kind.name} --only {case.number}"
            print(f"      once more: {again}", flush=True)
            if self.keep:
                case.place.keep(self.keep / f"{case.number}-{kind.name}")


def _play(case: Case, kind: Kind) -> list[Finding]:
    """The fault, the way to the run's end, and what must hold after each."""
    case.witness.start()
    try:
        try:
            kind.strike(case)
        except TimeoutError as error:
            case.lost(f"before the fault: {error}")
        case.place.restore()
        case.found += checks.after_a_fault(case)
        _to_the_end(case, kind)
        _seen(case)
    finally:
        case.found += case.witness.end()
    case.found += checks.after_a_run(case)
    return case.found


def _to_the_end(case: Case, kind: Kind) -> None:
    """Follow the run until it has finished; a person resumes it where that is what is promised."""
    if case.run is None:
        if not kind.unstarted:
            case.lost("nothing was started")
        try:
            case.start(0)
        except TimeoutError as error:
            case.lost(f"launched once more: {error}")
            return
    assert case.run
    finished = case.run.run_dir / "finished.json"
    for _ in range(RESUMES):
        code = case.launch("attach", case.run.id, timeout=ENDS_S).returncode
        if finished.exists():
            break
        _stands(case, kind, code)
        if case.resume().returncode:
            case.lost(f"`resume` refuses: {case.launch('resume', case.run.id).stderr[-300:]}")
    else:
        case.lost("the run does not come to its end")
    begun = len(case.run.history("begun"))
    if kind.calm and begun != 1 and finished.exists():
        case.lost(f"the training should not have noticed: {begun} attempts, {_whys(case)}")


def _stands(case: Case, kind: Kind, code: int) -> None:
    """The run has stopped before its end: whether it may, and whether that is told."""
    assert case.run
    said = case.launch("status", case.run.id).stdout
    state = str(case.site.json("status", case.run.id).get("state"))
    if state not in kind.ends:
        case.lost(f"the run should have gone on by itself; it is {state}, attach has ended with {code}: {_whys(case)}")
    elif kind.says_how and "resume" not in said:
        case.find(LIE, f"the run has stopped, and `status` does not say how to go on: {' '.join(said.split())[:400]}")


def _whys(case: Case) -> list[str]:
    assert case.run
    return [f"{e['attempt']} {e['state']}: {e.get('why') or e.get('error')}" for e in case.run.history("ended")]


def _seen(case: Case) -> None:
    """The witness has to see the end as well."""
    case.until(lambda until=case.witness.polls + 2: case.witness.polls >= until, 30, "two more polls")


def _heal(case: Case) -> list[Finding]:
    """Ready for the next fault, whatever this one has left."""
    try:
        case.place.restore()
        for job in case.live():
            case.cluster.run("scancel", str(job.id))
        case.cluster.heal()
    except Exception:  # the cluster itself is broken: a new one
        case.place.restore_files()
        case.cluster.down(remove=False)
        case.place.up()
        return [Finding(BROKEN, traceback.format_exc())]
    return []
