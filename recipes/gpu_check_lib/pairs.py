"""The rounds: in each of them every node measures an all-reduce with its partner of the round, all pairs at once.

Nobody waits for all the others: a pair begins when both have said so, and one that hangs costs its own two nodes
`pair_s`. A node that does not turn up is told to all, and nobody waits for it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpu_check_lib.meeting import Guest
from gpu_check_lib.ranks import Ranks, error_of
from gpu_check_lib.rounds import bus_bandwidth, schedule
from gpu_check_lib.settings import Settings
from gpu_check_lib.store import Store, StoreError

_STOP, _GO = "stop", "go"
# Beyond `pair_s`, which a partner may have lost with one that hangs: it has to start its ranks again.
_PATIENCE_S = 15.0
# Who waits says so as often: its own partner of the next round waits for it meanwhile, and would take it for gone too.
_BEAT_S = 2.0


@dataclass
class Tournament:
    """This node's part. `end` is the moment (monotonic) after which no round begins."""

    own: int
    guests: Mapping[int, Guest]
    store: Store
    ranks: Ranks
    settings: Settings
    end: float
    say: Callable[[str], None]

    def rounds(self) -> list[list[tuple[int, int]]]:
        """Of the nodes that can measure; a node over gloo and one over NCCL cannot with each other."""
        return schedule([node for node, guest in self.guests.items() if guest.ranks])

    def play(self) -> Iterator[dict[str, Any]]:
        """{"peer", "round", "gb_s", "error"} of each pair of this node, until the time is over.

        Raises:
            StoreError: node 0 does not answer any longer.
        """
        rounds = self.rounds()
        for number, pairs in enumerate(rounds):
            mine = next((pair for pair in pairs if self.own in pair), None)
            if mine is None:
                continue
            self.say(f"pairs: round {number + 1} of {len(rounds)}")
            peer = mine[0] if mine[1] == self.own else mine[1]
            result = self._round(number, mine, peer)
            if result is None:
                return
            yield {"peer": peer, "round": number, "gb_s": None, "error": None, **result}

    def _round(self, number: int, pair: tuple[int, int], peer: int) -> dict[str, Any] | None:
        """None where the time is over for this node or its partner: both see the same."""
        own, other = self.guests[self.own], self.guests[peer]
        if self.store.get(f"gone/{peer}", 0.0):
            return {"error": "gone"}
        late = time.monotonic() > self.end
        self.store.set(f"round/{number}/{self.own}", _STOP if late else _GO)
        if late:
            return None
        said = self._wait(f"round/{number}/{peer}", peer)
        if said is None:
            self.store.set(f"gone/{peer}", own.host)
            return {"error": "gone"}
        if said == _STOP:
            return None
        if own.backend != other.backend:
            return {"error": f"{own.host} measures over {own.backend}, {other.host} over {other.backend}"}
        group = (self.guests[pair[0]], other, own)
        return measure(self.ranks, self.settings, f"round/{number}/{pair[0]}", self.own, group)

    def _wait(self, key: str, peer: int) -> str | None:
        """What the partner says; None where it has not shown any life for `pair_s` and its patience."""
        seen, beats = self.store.get(f"waits/{peer}", 0.0), 0
        end = time.monotonic() + self.settings.pair_s + _PATIENCE_S
        while time.monotonic() < end:
            said = self.store.get(key, min(_BEAT_S, max(end - time.monotonic(), 0.0)))
            if said is not None:
                return said
            beats += 1
            self.store.set(f"waits/{self.own}", f"{key} {beats}")
            shown = self.store.get(f"waits/{peer}", 0.0)
            if shown != seen:
                seen, end = shown, time.monotonic() + self.settings.pair_s + _PATIENCE_S
        return self.store.get(key, 0.0)


def measure(
    ranks: Ranks, settings: Settings, name: str, node: int, guests: tuple[Guest, Guest, Guest] | tuple[Guest]
) -> dict[str, Any]:
    """{"gb_s"} or {"error"} of one group: of (leader, other, own), or of one node alone.

    The leader serves the group's store and has its first ranks.
    """
    leader = guests[0]
    world = leader.ranks if len(guests) == 1 else guests[1].ranks + guests[2].ranks
    first = 0 if leader.node == node else leader.ranks
    where = (leader.address, leader.port)
    megabytes = settings.megabytes if leader.backend == "nccl" else settings.cpu_megabytes
    shared = (megabytes, settings.iterations, settings.pair_s)
    arguments = [(leader.backend, where, name, first + rank, world, *shared) for rank in range(ranks.count)]
    answers = ranks.ask("all_reduce", arguments, settings.pair_s + 2.0)
    error = error_of(answers)
    if error is None and not all(answer["right"] for answer in answers):
        error = "the sum was wrong"
    if error is not None:
        return {"error": error}
    seconds = max(answer["seconds"] for answer in answers)
    return {"gb_s": bus_bandwidth(answers[0]["bytes"], seconds, world)}


def played(tournament: Tournament, keep: Callable[[list[dict[str, Any]]], None]) -> str | None:
    """Play to the end, or until node 0 is lost, which is what is returned; `keep` gets the results after each round."""
    results: list[dict[str, Any]] = []
    try:
        for result in tournament.play():
            results.append(result)
            keep(results)
    except StoreError as error:
        return f"node 0 does not answer any longer: {error}"
    return None
