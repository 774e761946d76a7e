"""Time and memory of rehearsals, beside the import of the framework that they cannot do without.

    python benchmarks/rehearsal.py [--memory] [CASE ...]

Prints a line a case: CPU time of recipes/rehearse.py with all that it starts, its ratio to `import nemo_automodel` with
the recipe's class, wall-clock time, the largest resident size of a process, and what came of it. CPU time is that of
two virtual cores or of a hundred: nothing in a rehearsal runs in parallel. `--memory` counts the step's memory as well.
The data are those of the tiny config (scripts/quickstart.sh prepares them); the models are their configs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import automodel_launch as al
from automodel_launch.backends import Rehearsal
from automodel_launch.rehearsal import request
from automodel_launch.rehearsal.wanted import Wanted

ROOT = Path(__file__).resolve().parent.parent
IMPORT = "import nemo_automodel, nemo_automodel.recipes.llm.train_ft"
SECONDS = 600
_LLAMA = {"vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 8192, "tie_word_embeddings": False}
_8B = {**_LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
_70B = {**_LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
_QWEN3 = {
    "_target_": "transformers.Qwen3MoeConfig",
    "architectures": ["Qwen3MoeForCausalLM"],
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


def _llama(shape: dict[str, Any]) -> list[str]:
    return [f"model.config.{key}={json.dumps(value)}" for key, value in shape.items()]


def _large(ranks: int) -> list[str]:
    """A sequence length and a batch for models of that size; bfloat16, as on a GPU."""
    data = ["dataset.seq_length=4096", "validation_dataset.num_val_samples=null", "model.torch_dtype=bfloat16"]
    batch = [f"step_scheduler.global_batch_size={2 * ranks}", "step_scheduler.local_batch_size=1"]
    return [*data, *batch, f"run.env.nproc_per_node={ranks}"]


CASES: dict[str, tuple[str, list[str]]] = {
    "tiny": ("tiny", []),
    "nanogpt": ("nanogpt", []),
    "8B on 8": ("tiny", [*_large(8), *_llama(_8B)]),
    "70B on 64, tp 8": ("tiny", [*_large(64), *_llama(_70B), "distributed.tp_size=8"]),
    "Qwen3-30B-A3B on 8": ("tiny", [*_large(8), f"+model.config={json.dumps(_QWEN3)}", "distributed.ep_size=8"]),
}


def measured(command: list[str], text: str = "") -> tuple[float, float, str]:
    """(CPU seconds of it and what it starts, wall-clock seconds, standard output)."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, input=text, stdout=-1, stderr=subprocess.DEVNULL, text=True, check=False, env=environ
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - began, done.stdout


def asked(config: str, overrides: list[str], memory: bool) -> str:
    """The request for a plan, without what only explains an error."""
    plan = al.plan("pretrain", config=config, overrides=overrides)
    how = Wanted(SECONDS, asked=True, memory=memory)
    document = request.of(plan, Rehearsal("rehearse.py", (), "AutoModel", known=True), how, own=True, code=str(ROOT))
    return json.dumps({**document, "base": None, "overrides": [], "code": [], "cuda": True})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if not (ROOT / "data" / "tiny").is_dir():
        sys.exit(f"{ROOT}/data/tiny is not there: bash scripts/quickstart.sh prepares it")
    measured([sys.executable, "-c", IMPORT])  # the first one reads the disk
    base, wall, _ = measured([sys.executable, "-c", IMPORT])
    print(f"{'import nemo_automodel':<22} {base:6.1f} s   x {1:4.1f}   {wall:6.1f} s on the clock")
    for name in options.cases or CASES:
        config, overrides = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"] = folder
            command = [sys.executable, str(ROOT / "recipes" / "rehearse.py")]
            cpu, wall, out = measured(command, asked(config, overrides, options.memory))
        found = json.loads(out.splitlines()[-1])
        what = f"{found['outcome']}; {found['peak_bytes'] / 2**20:,.0f} MiB"
        why = found["refusal"] or found["partial"]
        print(f"{name:<22} {cpu:6.1f} s   x {cpu / base:4.1f}   {wall:6.1f} s on the clock   {what} {why or ''}")


if __name__ == "__main__":
    main()
