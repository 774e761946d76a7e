"""What NeMo AutoModel 0.7.0, and what it imports, print before and between steps without a word for a person.

Each entry was seen in a log. A warning is listed only where it is one about AutoModel's own code, which nobody who
trains can do anything about.
"""

from __future__ import annotations

import re

from automodel_launch.backends.noise import LIBRARIES, Noise, Step, block, moved, on_cpu, patterns

_INFO = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| "
_ROOT = _INFO + r"root \| "
_WARNING = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| WARNING \| "
_LIBRARY = r"nemo_automodel\."
_DATA = _LIBRARY + r"components\.datasets\.llm\.megatron"

_LINES = patterns(
    (
        r"^cfg-path: /",
        r"^USDT:\S+ \S+ \d+:\d+ SyncActivityProfilerHandler\.cpp:\d+\] profiler_(start|stop)$",  # torch's profiler
        r"^> initializing torch distributed with \d+ workers?\.$",
        *LIBRARIES,
        r"^\[\w+\] (Attention implementation|torch_dtype): ",
        _ROOT + r"(Instantiating MegatronPretrainingSampler with|Signal handler installed for SIGTERM$)",
        _ROOT + r"(Optimizer|LR scheduler): <unavailable>$",  # of an evaluation
        _INFO + _LIBRARY + r"components\.loggers\.log_utils \| Setting logging level to ",
        _INFO + _LIBRARY + r"_transformers\.model_init \| Using custom model implementation for ",
        _INFO + _LIBRARY + r"components\.distributed\.parallelizer \| (Structurally discovered|Skipping independent) ",
        _INFO + _DATA + r"_dataset \| Loaded blend configuration from JSON file: ",
        _INFO + _DATA + r"\.builder \| \s*(Building GPTDataset splits|Build and save the )",
        _INFO + _DATA + r"\.indexed_dataset \| (Loading index file |Extracting |Sequences: \d+ \| Documents: )",
        _INFO + _DATA + r"\.gpt_dataset \| (Build and save the |Load the |\s*> )",
        _INFO + _LIBRARY + r"components\.optim\.scheduler \| learning rate decay style: ",
        _INFO + _LIBRARY + r"components\.optim\.optimizer \| Building LR scheduler with ",
        _INFO + _LIBRARY + r"components\.checkpoint\.checkpointing \| (No original HF|Successfully exported) ",
        _INFO + _LIBRARY + r"components\.checkpoint\._backports\.\w+ \| Consolidating safetensors files ",
        _INFO + _LIBRARY + r"components\.checkpoint\.lifecycle \| Updated (LATEST|LOWEST_VAL) checkpoint symlink",
        _WARNING + _DATA + r"_dataset \| split='900,50,50' will be ignored since datasets are being created",
        _WARNING + r"root \| save_consolidated=\w+ but v4_compatible=False; checkpoint assets may be not compatible",
        _WARNING + _LIBRARY + r"components\.checkpoint\._backports\.\w+ \| Ignoring \d+ tensor\(s\) from the consol",
    )
)
_WARNINGS = patterns(
    (
        r"/torch/distributed/tensor/_dispatch\.py:\d+: UserWarning: DTensor random operators may not have complete",
        r"/torchdata/stateful_dataloader/stateful_dataloader\.py:\d+: UserWarning: 'set_vital' is deprecated",
        r"/nemo_automodel/components/checkpoint/_backports/\w+\.py:\d+: UserWarning: TypedStorage is deprecated\.",
    )
)
# A config as YAML, which AutoModel prints between two lines of its logger. At a line's beginning stand keys alone, with
# a value of one word or in quotes: what somebody else prints there in other words is shown.
_YAML = r"""\s.*|- \S+|[\w.$/@<>*"'-]+:( \S+| '.*'| ".*")?|[\]}]|"""
_SCHEDULE = (
    r"Gradient accumulation steps|Checkpoint every steps|Garbage collect every steps|Current Epoch|Number of epochs|"
    r"Validation every steps|Max train steps|Checkpoint retention"
)
_BLOCKS = (
    block(
        _ROOT + "Experiment_details:$",
        rf"{_ROOT}(Timestamp|User|Host|World size|Backend|Recipe|Model name): .*|{_YAML}",
    ),
    block(_ROOT + "Library versions:$", _ROOT + r"- (nemo_automodel|transformers|torch): .*"),
    block(
        _ROOT + "Model summary:$",
        _ROOT + r"(-{10,}|(Trainable|Total) parameters(:| percentage:) .*|Param L2 norm: .*)",
    ),
    block(_ROOT + r"Model Part \d+:$", _ROOT + r"(\w+\(|\s+[()].*)", _ROOT + r"(\)|\.\.\.|<unavailable>)"),
    block(_ROOT + "Optimizer:$", _ROOT + r"(\w+ ?\(|Parameter Group \d+|\s+\w+: .*|)", _ROOT + r"\)"),
    block(_ROOT + "LR scheduler:$", _ROOT + r"(\w+\(|\s+\w+:.*|)", _ROOT + r"\)"),
    block(_ROOT + "Step scheduler:$", _ROOT + rf"- ({_SCHEDULE}): .*"),
)

_VALIDATION = r'\[val\] (?:(?:name )?"?(?P<name>[^"|]*?)"? \| )?'
_STEP = re.compile(rf"{_ROOT}(?P<val>{_VALIDATION})?step (?P<step>\d+) \| (?P<rest>.*)")
_SAVE = re.compile(
    rf"{_INFO}{_LIBRARY}recipes\.base_recipe \| (?P<saving>Saving) checkpoint to (?P<to>\S.*?)\s*$|"
    r"^Loading checkpoint from (?P<loaded>/.*?)\s*$"
)
_NAME = re.compile(r"/epoch_\d+_(?P<step>step_\d+)/?$")
_FIELD = re.compile(r"^(?P<name>\w+) (?P<value>\S+)$")
_TPS = re.compile(r"^tps (?P<all>\d+(?:\.\d+)?)\(")
_MEMORY = re.compile(r"^mem (?P<gib>\d+(?:\.\d+)?) GiB$")
_TOKENS = "num_label_tokens"
_NO_LOSS = "no loss: no whole batch of held-out data, or no labels"
_FIRST = ("loss", "grad_norm", "lr", "tps", "mem")


def _step(line: str) -> Step | None:
    """`... | step 3 | epoch 0 | loss 2.31 | grad_norm 1.0 | ...`, and the same behind `[val]`."""
    match = _STEP.search(line)
    if match is None:
        return _save(line) or on_cpu(line)
    fields = {}
    for part in match.group("rest").split(" | "):
        name, text = _field(part.strip())
        fields[name] = text
    if "loss" not in fields:
        return None
    val = (
        f"validation {match.group('name') or ''}".removesuffix("default").rstrip() + "  " if match.group("val") else ""
    )
    if val and fields.get(_TOKENS) == f"{_TOKENS} 0":  # the loss is told as 0.0
        return Step(f"{val}step {match.group('step')}  {_NO_LOSS}", ())
    order = [*(key for key in _FIRST if key in fields), *(key for key in fields if key not in _FIRST)]
    shown = tuple((key, fields[key]) for key in order if not (val and key == "lr"))
    return Step(f"{val}step {match.group('step')}", shown, frozenset({"epoch", _TOKENS}), frozenset({"mem"}))


def _save(line: str) -> Step | None:
    """`... | Saving checkpoint to PATH`, and what AutoModel prints before it loads one."""
    match = _SAVE.search(line)
    if match is None:
        return None
    path = match.group("to") or match.group("loaded")
    name = _NAME.search(path)
    return moved("saving" if match.group("saving") else "loading", name["step"].replace("_", " ") if name else "", path)


def _field(part: str) -> tuple[str, str]:
    tps, memory, field = _TPS.match(part), _MEMORY.match(part), _FIELD.match(part)
    if tps:
        return "tps", f"{float(tps.group('all')):,.0f} tokens/s"
    if memory:
        return "mem", f"{float(memory.group('gib')):.1f} GiB"
    return (field.group("name"), part) if field else (part, part)


NOISE = Noise(_LINES, _WARNINGS, _BLOCKS, _step)
