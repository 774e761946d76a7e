"""What Megatron-Bridge 0.3.1, and what it imports, print before and between iterations without a word for a person.

Each entry was seen in a log; see the list of AutoModel's.
"""

from __future__ import annotations

import re

from automodel_launch.backends.megatron_bridge import log_lines
from automodel_launch.backends.noise import Noise, Step, block, moved, on_cpu, patterns

_LINES = patterns(
    (
        r"^$",
        r"^USDT:\S+ \S+ \d+:\d+ SyncActivityProfilerHandler\.cpp:\d+\] profiler_(start|stop)$",  # torch's profiler
        r"^`torch_dtype` is deprecated! Use `dtype` instead!$",
        r"^gradient_accumulation_fusion requires FusedLayerNorm from megatron\.core\.fusions but it is not available\.",
        r"^> (initializing torch distributed \.\.\.|initialized \w+ model parallel with size \d+)$",
        r"^> setting random seeds to \d+ \.\.\.$",
        r"^> (compiling dataset index builder|building \w+ tokenizer|building train, validation, and test datasets)",
        r"^> finished creating GPT datasets \.\.\.$",
        r"^>>> done with dataset index builder\. Compilation time: ",
        r"^time to initialize megatron \(seconds\): ",
        r"^\[(after|before) [\w ,]+\] datetime: ",
        r"^CPU RNG state changed within GPU RNG context$",
        r"^ > number of parameters on \(tensor, pipeline\) model parallel rank \(\d+, \d+\): ",
        r"^done with setup \.\.\.$",
        r"^Setting rerun_state_machine\.current_iteration to \d+\.\.\.$",
        r"^Starting training loop at iteration \d+$",
        r"^Signal handler installed for \d+$",
        r"^Step Time : \S+s GPU utilization: ",
        r"^Number of parameters in (transformer layers|embedding layers|most loaded shard) in billions: ",
        r"^Total number of parameters in billions: ",
        r"^Theoretical memory footprints: ",
        r"^\[Rank \d+\] \(after \d+ iterations\) memory \((GB|MB)\)",
        r"^Storing distributed optimizer sharded state of type ",
        r"^Deleting CUDA graphs$",
        r"^Evaluating (on \d+ samples|iter \d+/\d+)$",
    )
)
_WARNINGS = patterns(
    (
        r"/megatron/\S+\.py:\d+: UserWarning: (Transformer Engine and )?Apex (is|are) not installed\. Falling back to ",
        r"/megatron/core/\S+\.py:\d+: UserWarning: The legacy GroupedMLP will be deprecated",
        r"/megatron/core/\S+\.py:\d+: UserWarning: full scope is deprecated\. Use empty cuda_graph_scope",
        r"/megatron/core/\S+\.py:\d+: UserWarning: Detected an existing checkpoint in ",
        r"/bridge_lib/training\.py:\d+: UserWarning: Function 'pretrain' is experimental\.",
        r"/bridge_lib/cpu\.py:\d+: UserWarning: The \.grad attribute of a Tensor that is not a leaf Tensor",
        r"/torch/utils/data/dataloader\.py:\d+: UserWarning: 'pin_memory' argument is set as true but no accelerator",
        r"/torch/distributed/c10d_logger\.py:\d+: FutureWarning: `torch\.distributed\.\w+` is deprecated\.",
    )
)
_SUMMARY = r"\[\w+\](:| Non-default values \(vs Mcore \w+\):)|  \w+: .*|-{70}|"
_BLOCKS = (
    block(r"^={70}$", rf"={{70}}|Configuration Summary \(Non-Default Values vs Megatron Core\)|{_SUMMARY}"),
    block(r"^Other Configuration Values:$", _SUMMARY, r"={70}"),
    block(r"^ > datasets target sizes \(minimum size\):$", r"    (train|validation|test): +\d+"),
)

_SAVING = re.compile(r"^saving checkpoint at iteration +(?P<iteration>\d+) to (?P<path>.+) in \S+ format$")
_SAVED = re.compile(r"^  successfully saved (local )?checkpoint from iteration +(?P<iteration>\d+)( to .*)?$")
_LOADING = re.compile(r"^ loading (distributed )?checkpoint from (?P<path>.+) at iteration (?P<iteration>\d+)$")
_NAMES = {
    "lm loss": "loss",
    "lm loss value": "loss",
    "grad norm": "grad norm",
    "learning rate": "lr",
    "tokens per second": "tps",
    "throughput per GPU (TFLOP/s/GPU)": "tflops",
    "lm loss PPL": "ppl",
    "number of skipped iterations": "skipped",
    "number of nan iterations": "nan",
}
_UNITS = {"tps": "{:,.0f} tokens/s", "tflops": "{:.0f} TFLOP/s/GPU", "lr": "lr {:.2e}", "skipped": "skipped {:.0f}"}
_UNITS |= {"nan": "nan {:.0f}", "loss": "loss {:.4f}", "grad norm": "grad norm {:.3f}", "ppl": "ppl {:.2f}"}
# The rest is in the log: it is constant, or tells what the others do.
_LEFT_OUT = {"consumed samples", "elapsed time per iteration (ms)", "global batch size", "loss scale"}


def _step(line: str) -> Step | None:
    """` [TIME] iteration 10/ 60 | ... | lm loss: 7.8E+00 | ...`, ` validation loss at iteration 10 | ...`."""
    match = log_lines.ITERATION.search(line)
    validation = None if match else log_lines.VALIDATION.search(line)
    found = match or validation
    if found is None:
        return _save(line) or on_cpu(line)
    told = dict(_field(part) for part in found.group("rest").split("|") if part.strip())
    order = [*(name for name in _NAMES.values() if name in told), *(name for name in told if name not in _UNITS)]
    fields = tuple((name, told[name]) for name in dict.fromkeys(order) if name not in _LEFT_OUT)
    total = f"/{match.group('all')}" if match else ""
    head = f"iteration {found.group('iteration')}{total}"
    if validation:
        kind = validation.group("set")
        head = f"{kind if kind not in (None, 'validation') else 'validation'}  {head}"
    return Step(head, fields, zero=frozenset({"skipped", "nan"}))


def _save(line: str) -> Step | None:
    """What save_checkpoint prints before and behind a save, and load_checkpoint before it loads."""
    for what, form in (("saving", _SAVING), ("saved", _SAVED), ("loading", _LOADING)):
        match = form.search(line)
        if match:
            return moved(what, f"iteration {match['iteration']}", match.groupdict().get("path"))
    return None


def _field(part: str) -> tuple[str, str]:
    match = log_lines.FIELD.match(part)
    if match is None:
        return part.strip(), part.strip()
    name = _NAMES.get(match.group("name"), match.group("name"))
    try:
        value = float(match.group("value"))
    except ValueError:
        return name, f"{name} {match.group('value')}"
    if name == "loss" and not 1e-3 <= abs(value) < 1e4:
        return name, f"loss {value:.4g}"
    return name, _UNITS[name].format(value) if name in _UNITS else f"{name} {value:g}"


NOISE = Noise(_LINES, _WARNINGS, _BLOCKS, _step)
