"""Values that nobody foresees, and how they are written in YAML, TOML and on a command line."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

from hypothesis import strategies as st

_REFERENCES = (
    *("${", "${}", "${a", "${a}", "${.}", "${..}", "${...a}", "${model}", "${model.config}", "${run}", "${run.env}"),
    *("${run.dir}", "${run.data_dir}", "${run.name}", "${oc.env:X", "${oc.env:}", "${oc.env:X}", "${oc.env:X,}"),
    *("${oc.env:X,${oc.env:Y,1}}", "${oc.env:HOME}", "${oc.env:RANK}", "${oc.env:HF_TOKEN}", "${oc.env:X,'}"),
    *("${oc.decode:x}", "${oc.decode:'[1'}", "${oc.create:{a: 1}}", "${oc.dict.keys:model}", "${oc.select:x,y}"),
    *("${oc.dict.values:model}", "${oc.deprecated:model}", "${art:data,path}", "${art:data}", "${art}", "${x:y}"),
    *(
        "${HOME}",
        "${HOME,x}",
        "${X,}",
        "${X,${Y,}}",
        "${dataset[0]}",
        "${[a]}",
        "$HOME",
        "$",
        "\\${a}",
        "???",
        "${???}",
    ),
    *("${optimizer.lr}", "${step_scheduler.max_steps}", "${dataset.paths}", "${dataset.paths.0}", "a${model}b"),
)
_PATHS = (
    *("/", ".", "..", "~", "~nobody/x", "~~", "/dev/null", "/dev/zero", "/dev/tty", "/proc/self/mem", "/proc/1/root"),
    *("a" * 300, "/" + "a/" * 3000, "/**", "/proc/**", "*", "**/*.bin", "[", "[a-", "{a,b}", "http://", "http://[::1"),
    *(
        "file:///",
        "hf://a/b",
        "s3://a//b",
        "a:b",
        "a:b:c",
        ":",
        "::",
        "/a:/b:rw,z",
        "a//b",
        "-",
        "--",
        "-c",
        "user/name",
    ),
    *("HERE", "HERE/fifo", "HERE/loop", "HERE/folder.yaml", "HERE/zeros.bin", "HERE/empty", "HERE/binary.json"),
    *("HERE/deep.json", "HERE/nan.json", "DATA/tiny/megatron/blend.json", "DATA/tiny/tokenizer", "own.py:f", "own.py"),
    *("HERE/own.py:f", "HERE/binary.json:f", "HERE/folder.yaml:f", "HERE/fifo:f", "/dev/zero:f", "/dev/zero.py:f"),
)
_WORDS = (
    *("", " ", "\n", "\t", "\0", "a\0b", "/a\0b", "\r", "\x1b[31m", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e", "é"),
    *("\U0001f600", "\ud800", "x" * 100_000, "%s", "%", "%j", "%%", "{0}", "{}", "(", "[x](", "'", '"', "`", "\\", "#"),
    *("null", "none", "auto", "true", "yes", "no", "on", "0", "1", "-1", "1.0", "1e3", "1e-3", "1_000", "0x10", "0o7"),
    *("nan", "inf", "-inf", ".nan", "01", "1:2", "1,2", "1.5,", "²", "٣", "1" * 5000, "1e400", "-0", "+1", "1 2", "<<"),
    *("torch.optim.AdamW", "torch", "torch.", ".torch", "a..b", "os.system", "builtins.eval", "nemo_automodel"),
    *("transformers.LlamaConfig", "transformers.GPT2Config", "transformers.MixtralConfig", "transformers.NoConfig"),
    *("nemo_automodel.NeMoAutoModelForCausalLM.from_config", "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained"),
    *("nemo_automodel.components.datasets.llm.nanogpt_dataset.NanogptDataset", "fsdp2", "ddp", "megatron_fsdp"),
    *("99999999999999999999:00:00", "1-00:00:00", "00:00:00", "4", "gpu:8", "gpu:x:-1", "16G", "c[1-", "c[1-3]"),
    *("c[0-9999999999]", "c[1-2][3-4]", "afterok:1", "singleton", "USR1@60", "B:USR1@99999999999", "nvcr.io/a/b:1"),
)
_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 255, 10**6, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, True, False, None),
    *(0.0, -0.0, 0.5, 1e-3, -1e-3, 1e-300, 1e18, 1e300, math.inf, -math.inf, math.nan, 1.0, 2.5, 1e22),
)
_OTHERS: tuple[Any, ...] = (
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"a": {}},
        [1, "a"],
        [1, 2, 3],
        ["a"],
        {"": 1},
        {"a.b": 1},
        {" ": None},
        {"_target_": 1},
    ),
    *({"_target_": "torch.nn.Linear"}, {"_target_": ["a"]}, {"_target_": None}, {"a": [{"b": [{"c": None}]}]}),
    *(datetime.date(2026, 1, 1), datetime.datetime(1, 1, 1), b"\xff\x00", [["a", "b"]], [math.nan], ["0.5", "/a\0"]),
)

TEXTS = st.sampled_from((*_REFERENCES, *_PATHS, *_WORDS)) | st.text(max_size=12)
NUMBERS = st.sampled_from(_NUMBERS) | st.integers() | st.floats()
SCALARS = TEXTS | NUMBERS
KEYS = st.sampled_from(
    ("a", "lr", "_target_", "paths", "split", "config", "a.b", "", " ", "\0", "<<", "=", "é", "run", "1")
)
VALUES: st.SearchStrategy[Any] = st.sampled_from(_OTHERS) | st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def toml(value: Any) -> str:
    """A value as TOML has it; what TOML lacks is written as a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value) if math.isfinite(value) else f"{'-' * (value < 0)}inf"
    if isinstance(value, int | datetime.date):
        return str(value) if not isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(str(key))} = {toml(entry)}' for key, entry in value.items())}}}"
    return json.dumps(str(value).encode(errors="replace").decode()).replace("\x7f", "\\u007f")
