"""The phases of the check on one node, in their order; each leaves its facts in the node's record before the next."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gpu_check_lib import identity as identities
from gpu_check_lib import meeting, pairs, paths, smi
from gpu_check_lib.identity import Identity
from gpu_check_lib.meeting import Guest
from gpu_check_lib.ranks import Ranks, error_of
from gpu_check_lib.record import Record
from gpu_check_lib.settings import Settings
from gpu_check_lib.store import Store, StoreError

_WARM_S = 1.0  # of load before nvidia-smi is asked what the clocks do under it


@dataclass
class Node:
    """What this node can measure with: its ranks, and the store at which their groups meet."""

    guest: Guest
    ranks: Ranks
    store: Store


def run(settings: Settings) -> None:
    """All phases."""
    end = time.monotonic() + settings.total_s
    identity = identities.of(os.environ)
    record = Record(identity)
    _look(settings, record)
    node = _node(settings, record, identity)
    if node and identity.nodes > 1:
        _together(settings, record, identity, node, end)
    if node:
        node.ranks.kill()
    record.save("done")
    _say("done")


def _look(settings: Settings, record: Record) -> None:
    _say("local: nvidia-smi, paths, disks")
    record.save("local")
    asked = smi.start(settings.smi_s)
    seen = paths.probe(settings.paths, settings.paths_s)
    record.save("node", paths=seen, smi=smi.answer(asked, settings.smi_s))


def _node(settings: Settings, record: Record, identity: Identity) -> Node | None:
    """Everything that this node measures alone; None where it cannot measure at all."""
    _say("node: torch, load on the GPUs, all-reduce among them")
    try:  # before any fork, so that it is imported once; a torch that is broken may raise anything
        import torch.distributed  # noqa: F401
    except Exception as error:
        record.save("node", torch_error=f"torch cannot be imported: {type(error).__name__}: {error}"[:300])
        return None
    probed = _probe(settings, record)
    gpus = probed.get("cuda") or 0
    ranks = Ranks(min(settings.ranks, gpus) if gpus else settings.ranks)
    backend = "nccl" if gpus else "gloo"
    record.save("node", backend=backend, ranks=ranks.count)
    able = "error" not in probed and (not gpus or _load(settings, record, ranks))
    store = _on_the_store(record, lambda: Store("0.0.0.0", 0, serve=True, limit_s=settings.meet_s))
    if store is None:
        return None
    address = identities.own_address(identity.master, identity.port or 1) if identity.nodes > 1 else "127.0.0.1"
    guest = Guest(identity.node, identity.host, address, store.port, ranks.count if able else 0, backend)
    if able and ranks.count > 1:
        alone = replace(guest, address="127.0.0.1")
        result = pairs.measure(ranks, settings, "node", guest.node, (alone,))
        record.save("node", all_reduce={"gb_s": None, "error": None, **result})
        if "error" in result:
            guest = replace(guest, ranks=0)
    return Node(guest, ranks, store)


def _probe(settings: Settings, record: Record) -> dict[str, Any]:
    """In a process of its own: CUDA, once looked at, does not survive a fork."""
    ranks = Ranks(1)
    (probed,) = ranks.ask("probe", [()], settings.node_s)
    ranks.kill()
    record.save("node", torch=probed.get("torch"), cuda=probed.get("cuda"), torch_error=probed.get("error"))
    return probed


def _load(settings: Settings, record: Record, ranks: Ranks) -> bool:
    """Matrix products on all GPUs at once, and what nvidia-smi sees meanwhile: an idle GPU's clocks tell nothing."""
    ranks.send("load", [(_WARM_S + settings.load_s,)] * ranks.count)
    time.sleep(_WARM_S)
    asked = smi.start(settings.smi_s)
    loaded = smi.answer(asked, settings.smi_s)
    answers = ranks.gather(settings.node_s)
    error = error_of(answers)
    speeds = [answer.get("tflops") for answer in answers]
    finite = all(answer.get("finite", True) for answer in answers)
    record.save(
        "node", loaded=loaded, tflops=speeds, load_error=error or (None if finite else "a product was not finite")
    )
    return error is None


def _together(settings: Settings, record: Record, identity: Identity, node: Node, end: float) -> None:
    _say("meeting: who is there, and what time is it")
    record.save("meeting")

    def meet() -> pairs.Tournament | None:
        store = Store(identity.master, identity.port or 0, serve=identity.node == 0, limit_s=settings.meet_s)
        guests = meeting.meet(store, node.guest, identity.nodes, settings.meet_s)
        if guests is None:
            record.save("meeting", meeting_error="came too late: the others had begun")
            return None
        present = sorted(guests)
        record.save("pairs", present=present, clock=meeting.clock(store, identity.node))
        return pairs.Tournament(identity.node, guests, store, node.ranks, settings, end, _say)

    tournament = _on_the_store(record, meet)
    if tournament is None:
        return
    record.save("pairs", rounds=len(tournament.rounds()), pairs=[])
    if node.guest.ranks:
        lost = pairs.played(tournament, lambda results: record.save("pairs", pairs=results))
        record.save("pairs", meeting_error=lost)
    with contextlib.suppress(StoreError):
        meeting.leave(tournament.store, identity.node, sorted(tournament.guests), settings.pair_s)


def _on_the_store(record: Record, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except StoreError as error:
        record.save(str(record.facts["phase"]), meeting_error=str(error))
        return None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
