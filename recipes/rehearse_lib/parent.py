"""A whole rehearsal: the worker's answers for each rank made into one result."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

from . import culprit, removal, result, versions
from .orders import READY, Attempt, TimeIsUp, Worker, WorkerGone, signal_name
from .request import Request
from .scratch import Scratch

_MEMORY_KILLS = (signal.SIGKILL,)  # what the kernel sends where memory has run out
_TIME_KILLS = (signal.SIGALRM, signal.SIGXCPU)
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def rehearse(request: Request) -> dict[str, Any]:
    """Rehearse, and return the result; leaves nothing behind."""
    found = versions.installed()
    because = versions.why_not(found)
    if because is not None:
        entry = result.partial(result.VERSIONS, because)
        return result.make(rehearsed=False, partials=[entry], versions=found)
    deadline = time.monotonic() + request.seconds
    with _signals_end_it():
        scratch = Scratch()
        worker = None
        try:
            worker = Worker(scratch.path, deadline)
            scratch.watch(worker.process.pid)
            return Rehearsal(request, worker, found).run()
        finally:
            if worker is not None:
                worker.end()
            scratch.remove()


@contextlib.contextmanager
def _signals_end_it() -> Iterator[None]:
    """A signal ends this process by an exception meanwhile, so that `finally` is reached."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Rehearsal:
    """One request, carried out by a worker that has been started."""

    def __init__(self, request: Request, worker: Worker, found: Mapping[str, str]) -> None:
        self.request, self.worker, self.found = request, worker, found
        self.partials: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, Any] = {}
        self.ranks: list[int] = []
        self.peak = 0

    def run(self) -> dict[str, Any]:
        """The result."""
        began = time.monotonic()
        try:
            started = self.worker.wait_until_ready()
        except TimeIsUp:
            return self._result(rehearsed=False, entry=result.partial(result.TIME, self._over("import")))
        except WorkerGone as error:
            text = f"AutoModel cannot be imported here: {error}"
            return self._result(rehearsed=False, entry=result.partial(result.PACKAGE, text))
        if READY not in started:
            return self._result(rehearsed=False, entry=started["partial"])
        self.seconds["import"] = round(time.monotonic() - began, 2)
        refusal = None
        try:
            for rank in self._ranks_to_try():
                refusal = self._of(rank)
                if refusal is not None:
                    break
        except WorkerGone as error:
            self.partials.append(result.partial(result.INTERNAL, f"the rehearsal's worker is gone: {error}"))
        unknown = any(entry["reason"] == result.RECIPE_CLASS for entry in self.partials)
        return self._result(refusal=refusal, rehearsed=not unknown)

    def _of(self, rank: int) -> dict[str, Any] | None:
        """What is refused on that rank, if anything is."""
        try:
            made = self._attempt(self.request.config, rank)
        except TimeIsUp as error:
            self.partials.append(result.partial(result.TIME, self._over(str(error))))
            return None
        self.ranks.append(rank)
        self._account(made, rank)
        refusal = refusal_of(made, rank, self.request.bytes, self.partials)
        if refusal is None:
            return None
        with contextlib.suppress(TimeIsUp):
            fails: culprit.Fails = lambda config, until: self._signature(config, rank, until)  # noqa: E731
            culprit.name(refusal, self.request, fails)
            removal.name(refusal, self.request.config, fails)
        return refusal

    def _ranks_to_try(self) -> list[int]:
        """The first rank, and the last one where it holds another stage of a pipeline."""
        last = self.request.world_size - 1
        section = self.request.config.get("distributed")
        stages = section.get("pp_size") if isinstance(section, dict) else None
        return [0, last] if last and isinstance(stages, int) and stages > 1 else [0]

    def _attempt(self, config: Mapping[str, Any], rank: int, until: str | None = None) -> Attempt:
        order = {"request": self.request.as_json(), "config": config, "rank": rank, "until": until}
        return self.worker.attempt({**order, "scratch": str(self.worker.scratch)})

    def _signature(self, config: Mapping[str, Any], rank: int, until: str) -> tuple[str, ...] | None:
        """How that configuration fails, up to the end of a stage; None where it does not, and gets there."""
        made = self._attempt(config, rank, until)
        refusal = refusal_of(made, rank, self.request.bytes, [])
        if refusal is not None:
            return culprit.signature(refusal)
        return None if until in (made.answer or {}).get("seconds", {}) else ("not tried", made.stage)

    def _account(self, made: Attempt, rank: int) -> None:
        self.peak = max(self.peak, made.peak_bytes)
        answer = made.answer or {}
        self.partials += answer.get("partial", [])
        for stage, seconds in answer.get("seconds", {}).items():
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 2)
        if answer.get("memory"):
            self.memory[str(rank)] = answer["memory"]

    def _over(self, stage: str) -> str:
        return f"it took longer than {self.request.seconds:g} s, and was at the stage {stage!r} then"

    def _result(
        self,
        *,
        refusal: Mapping[str, Any] | None = None,
        rehearsed: bool = True,
        entry: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return result.make(
            refusal=refusal,
            partials=[*self.partials, *([entry] if entry else [])],
            versions=self.found,
            ranks=self.ranks,
            memory={"rank": self.memory} if self.memory else None,
            seconds=self.seconds,
            peak_bytes=self.peak,
            rehearsed=rehearsed,
        )


def refusal_of(made: Attempt, rank: int, limit: int, partials: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The refusal in an attempt, None where there is none; what a death of time or memory leaves goes to `partials`."""
    if made.answer is not None:
        refusal = made.answer.get("refusal")
        return {**refusal, "rank": rank} if refusal else None
    if made.signal in _TIME_KILLS:
        partials.append(result.partial(result.TIME, f"its time was over at the stage {made.stage!r}"))
        return None
    if made.signal in _MEMORY_KILLS:
        text = (
            f"it was killed at the stage {made.stage!r}, with {made.peak_bytes >> 20} MiB; its limit is {limit >> 20}"
        )
        partials.append(result.partial(result.MEMORY, text))
        return None
    how = signal_name(made.signal) if made.signal else f"exit code {made.code}"
    return {
        "stage": made.stage,
        "type": how,
        "text": f"the process of rank {rank} dies ({how}) at the stage {made.stage!r}, without an error of Python",
        **dict.fromkeys(("file", "line", "source", "key", "key_by", "override")),
        "rank": rank,
    }
