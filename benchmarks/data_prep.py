"""Data preparation against AutoModel's own tools and against the bare engine, on the same corpus, in one run.

    python benchmarks/data_prep.py [--mb 100] [--workers 2] [--vocab-size 32000] [--automodel DIR]

The corpus is made of this machine's texts, the tokenizer is trained on it. --automodel (or AUTOMODEL_REPO) is a
checkout of NeMo AutoModel; its tools/preprocess_megatron_dataset.py and tools/nanogpt_data_processor.py are left out
without it.

Printed for each: wall-clock and CPU seconds of the whole command, tokens a second, the largest sum of resident memory
of its processes, and whether its ids are ours. Then the ratios. On a machine that does other things too, the ratio of
the CPU seconds is the one to trust. The speed without starting and loading is that of the tokens by which an input of
--copies times the size is larger. The bare engine has its texts in memory and only encodes, in as many processes and
the same batches; it is also timed with orjson in front.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "recipes")]

import numpy as np  # noqa: E402

from benchmarks import data_prep_corpus, data_prep_engine  # noqa: E402
from benchmarks.process_tree import Measured, measure  # noqa: E402

NO_NETWORK = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Result:
    name: str
    measured: Measured
    tokens: int
    digest: str  # of the ids of all documents in their order, each with its end-of-text token


def ours(folder: Path, kind: str, workers: int) -> Result:
    """recipes/data_prep.py; all documents go to the training split, so that their order can be compared."""
    out = folder / f"ours-{kind}"
    values = {
        "datasets": [{"name": "c", "path": str(folder / kind), "include": ["*"]}],
        "tokenizer": str(folder / "tokenizer"),
        "output_dir": str(out),
        "workers": workers,
        "splits": {"train": 1.0},
    }
    config = folder / f"{kind}.json"
    config.write_text(json.dumps(values))
    measured = measure([sys.executable, str(ROOT / "recipes" / "data_prep.py"), "--config", str(config)])
    record = json.loads((out / "latest" / "record.json").read_text())
    print(f"  {kind}: {record['engine']}", file=sys.stderr)
    return Result(
        f"ours, {kind}", measured, *_digest(sorted((out / "latest" / "train").glob("*.bin")), record["dtype"])
    )


def _digest(files: list[Path], dtype: str) -> tuple[int, str]:
    ids = np.concatenate([np.fromfile(file, dtype) for file in files]).astype("<u4")
    return len(ids), hashlib.sha256(ids.tobytes()).hexdigest()


def megatron(folder: Path, tool: Path, kind: str, workers: int) -> Result:
    """AutoModel's preprocess_megatron_dataset.py."""
    out = folder / f"megatron-{kind}"
    command = [sys.executable, str(tool), "--input", str(folder / kind / f"0.{kind}"), "--output-prefix", "c"]
    command += ["--output-path", str(out), "--workers", str(workers), "--append-eod"]
    measured = measure([*command, "--pretrained-model-name-or-path", str(folder / "tokenizer")], NO_NETWORK)
    files = sorted(out.glob("*.bin"))
    return Result(f"{tool.name}, {kind}", measured, *_digest(files, "uint16"))


def nanogpt(folder: Path, tool: Path, workers: int) -> Result:
    """AutoModel's nanogpt_data_processor.py. It writes BOS before a document where we write EOS after it."""
    out = folder / "nanogpt"
    command = [sys.executable, str(tool), "--dataset", str(folder / "jsonl"), "--set-name", "default"]
    command += ["--output-dir", str(out), "--tokenizer", str(folder / "tokenizer"), "--num-workers", str(workers)]
    measured = measure(command, NO_NETWORK | {"HF_HOME": str(folder / "hf")})
    ids = np.fromfile(next(folder.glob("nanogpt_*/dataset.bin")), "<u2", offset=1024).astype("<u4")
    ids = np.append(ids[1:], ids[:1])  # BOS and EOS are the same token here
    return Result(f"{tool.name}, jsonl", measured, len(ids), hashlib.sha256(ids.tobytes()).hexdigest())


def show(result: Result, right: str) -> None:
    m = result.measured
    same = "equal" if result.digest == right else "DIFFERENT"
    print(
        f"{result.name:<42} {m.wall_s:7.2f} s  cpu {m.cpu_s:7.2f} s  {result.tokens / m.wall_s / 1e6:6.2f} Mtok/s"
        f"  {m.peak_bytes / 1e6:6.0f} MB  ids {same}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="size of the texts (default 100)")
    parser.add_argument("--copies", type=int, default=4, help="the larger input is so many times as large (default 4)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument(
        "--automodel", type=Path, default=os.environ.get("AUTOMODEL_REPO"), help="an AutoModel checkout"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-data-prep-") as name:
        folder = Path(name)
        documents = data_prep_corpus.texts(args.mb)
        data_prep_corpus.write(folder, documents, args.copies)
        data_prep_corpus.write_tokenizer(folder / "tokenizer", documents, args.vocab_size)
        print(f"{len(documents)} documents, {args.mb:.0f} MB of text, {args.workers} workers", flush=True)
        del documents
        run(folder, args.automodel and Path(args.automodel), args.workers)


def run(folder: Path, automodel: Path | None, workers: int) -> None:
    mine = {kind: ours(folder, kind, workers) for kind in ("jsonl", "parquet")}
    right = mine["jsonl"].digest
    for result in mine.values():
        show(result, right)
    peers = []
    for tool in ("preprocess_megatron_dataset.py", "nanogpt_data_processor.py"):
        path = automodel / "tools" / tool if automodel else None
        if path is None or not path.exists():
            print(f"{tool}: skipped, not found; give --automodel DIR (a checkout of NeMo AutoModel)")
        elif tool.startswith("preprocess"):
            peers += [megatron(folder, path, kind, workers) for kind in ("jsonl", "parquet")]
        else:
            peers.append(nanogpt(folder, path, workers))
    for peer in peers:
        show(peer, right)
    alone, parsed = data_prep_engine.speeds(folder / "jsonl" / "0.jsonl", folder / "tokenizer", workers)
    for label, speed in (("texts in memory", alone), ("with orjson in front", parsed)):
        print(f"bare engine, {label}: {speed.wall / 1e6:.2f} Mtok/s, {speed.cpu / 1e6:.2f} a CPU second")
    for peer in peers:
        same = mine["parquet" if "parquet" in peer.name else "jsonl"]
        wall, cpu = (getattr(peer.measured, f) / getattr(same.measured, f) for f in ("wall_s", "cpu_s"))
        print(f"ours against {peer.name:<42} x {wall:5.1f} wall-clock, x {cpu:5.1f} CPU, of whole commands")
    for kind, small in mine.items():
        large = ours(folder, f"{kind}-more", workers)
        more = large.tokens - small.tokens
        wall = more / (large.measured.wall_s - small.measured.wall_s)
        cpu = more / (large.measured.cpu_s - small.measured.cpu_s)
        print(
            f"ours, {kind}, without starting: {wall / 1e6:.2f} Mtok/s, {cpu / 1e6:.2f} a CPU second;"
            f" of the bare engine {wall / alone.wall:.0%} and {cpu / alone.cpu:.0%},"
            f" of it with orjson {wall / parsed.wall:.0%} and {cpu / parsed.cpu:.0%}"
        )
        print(
            f"ours, {kind}, peak memory: {small.measured.peak_bytes / 1e6:.0f} MB;"
            f" {large.measured.peak_bytes / 1e6:.0f} MB with {large.tokens / small.tokens:.1f} times the tokens"
        )


if __name__ == "__main__":
    main()
