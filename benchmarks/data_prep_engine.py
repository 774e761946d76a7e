"""The bare engine: texts in memory, encoded by several processes at once, nothing else."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes"))

from data_prep_lib import engine_check, engines
from data_prep_lib.batches import batches
from data_prep_lib.shards import Piece, Shard


@dataclass(frozen=True)
class Speed:
    """Tokens of all processes together, a second of wall-clock and a second of CPU time."""

    wall: float
    cpu: float


def speeds(jsonl: Path, tokenizer: Path, workers: int) -> tuple[Speed, Speed]:
    """Of encoding alone, and with orjson in front of it."""
    path, size = str(tokenizer / "tokenizer.json"), jsonl.stat().st_size
    shard = Shard("c", 0, "jsonl", "text", (Piece(str(jsonl), size, 0, size),))
    engine = engine_check.choose("auto", path, [shard]).engine
    context: Any = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(workers), context.Queue()
    given = [(barrier, answers, engine, path, str(jsonl), rank, workers) for rank in range(workers)]
    processes = [context.Process(target=_encode, args=args) for args in given]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    tokens = sum(n for n, _ in found)
    laps = list(zip(*(laps for _, laps in found), strict=True))
    alone, parsed = (Speed(tokens / max(w for w, _ in lap), tokens / sum(c for _, c in lap)) for lap in laps)
    return alone, parsed


def _encode(barrier: Any, answers: Any, engine: str, path: str, jsonl: str, rank: int, workers: int) -> None:
    import orjson

    engines.one_thread()
    with open(jsonl, "rb") as file:
        lines = list(islice(file, rank, None, workers))
    texts = [orjson.loads(line)["text"] for line in lines]
    tokens, laps = 0, []
    for parsed in (texts, (orjson.loads(line)["text"] for line in lines)):
        encode = engines.load(engine, path)  # a new one: its caches are cold, as a worker's are
        barrier.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = sum(len(encode(batch).ids) for batch in batches(parsed))
        laps.append((time.perf_counter() - wall, time.process_time() - cpu))
    answers.put((tokens, laps))
