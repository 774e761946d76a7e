"""Time of all local checks of a plan, beside the launcher's own start.

    python benchmarks/checks.py [--repeat N]

Prints a line a case: seconds of wall-clock time in one process (the least of N runs) and the ratio to `python -c pass`.
For a plan the checks are timed alone, with the import of their modules, after the plan is made; what asks a cluster is
left out, as with --offline. The plans have a GPU to fit, a config.json to read and 200 shards to look at, so that every
check has its work. The limit beside them is the project's own: 0.3 s beyond the launcher's start, on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = str(ROOT / "launch.py")
LIMIT = 0.3
_CHECKS = """
import sys, time
import automodel_launch as al
plan = al.plan("pretrain", config=sys.argv[1], overrides=sys.argv[2:])
began = time.perf_counter()
from automodel_launch import checks
found = checks.run(plan, offline=True)
print(time.perf_counter() - began, len(found))
"""
_QWEN3_30B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}


def start(arguments: list[str]) -> float:
    """Wall-clock time of one run of this Python."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def check(arguments: list[str]) -> tuple[float, int]:
    """Wall-clock time of the checks of one plan, in a fresh process, and the number of findings."""
    done = subprocess.run(
        [sys.executable, "-c", _CHECKS, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seconds, count = done.stdout.split()
    return float(seconds), int(count)


def prepare(folder: Path, shards: int = 200) -> list[str]:
    """Data and a model's config.json; returns the overrides that name them."""
    blend = []
    for number in range(shards):
        prefix = folder / f"shard_{number:05}"
        index = struct.pack("<9sQBQQiqqq", b"MMIDIDX\0\0", 1, 8, 1, 2, 4096, 0, 0, 1)  # one document of uint16
        prefix.with_suffix(".idx").write_bytes(index)
        prefix.with_suffix(".bin").write_bytes(b"\0" * 8192)
        blend += [f"{1 / shards:.6f}", str(prefix)]
    (folder / "blend.json").write_text(json.dumps({"train": blend, "validation": blend[1::2]}))
    (folder / "config.json").write_text(json.dumps(_QWEN3_30B))
    (folder / "tokenizer.json").write_text("{}")
    return [f"dataset.paths={folder}/blend.json", "run.env.gpu=H100"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    base = min(start(["-c", "pass"]) for _ in range(repeat))
    print(f"{'python -c pass':<28} {base:6.3f} s   x {1:5.1f}")
    helped = min(start([LAUNCH, "--help"]) for _ in range(repeat))
    print(f"{'launch.py --help':<28} {helped:6.3f} s   x {helped / base:5.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepare(folder)
        model = f"model.pretrained_model_name_or_path={folder}"
        large = [*data, model, "run.env.nproc_per_node=8", "distributed.activation_checkpointing=false"]
        for label, arguments in (
            ("checks of pretrain tiny", ["tiny", *data]),
            ("of pretrain default", ["default", *large]),
        ):
            timed = [check(arguments) for _ in range(repeat)]
            seconds, count = min(timed)
            kept = "kept" if seconds <= LIMIT else "MISSED"
            print(f"{label:<28} {seconds:6.3f} s   x {seconds / base:5.1f}   {count} findings; limit {LIMIT} s: {kept}")


if __name__ == "__main__":
    main()
