"""Strategies of whole launches: a good one in which a few things are something else."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from automodel_launch.config import yamlio
from automodel_launch.profile.schema import WRITTEN_KEYS
from tests.faults.launches import BARE, BASE, FOLDER, ROOT
from tests.fuzz.values import KEYS, SCALARS, VALUES, toml

_TINY = yamlio.read(ROOT / "configs" / "pretrain" / "tiny.yaml").data
_NANO = yamlio.read(ROOT / "configs" / "pretrain" / "nanogpt.yaml").data
_PREP = yamlio.read(ROOT / "configs" / "data-prep" / "tiny.yaml").data
_SMALL = yaml.safe_load((FOLDER / "configs" / "small.yaml").read_text())
_MORE = {  # sections that the shipped configs have not
    "distributed": {
        "strategy": "fsdp2",
        "tp_size": 1,
        "pp_size": 1,
        "cp_size": 1,
        "dp_size": "none",
        "pipeline": {"pp_schedule": "1f1b"},
    },
    "checkpoint": {"enabled": True, "checkpoint_dir": "/a", "model_save_format": "safetensors", "restore_from": "x"},
    "wandb": {"project": "a", "entity": "b", "name": "c"},
    "peft": {"_target_": "nemo_automodel.components._peft.lora.PeftConfig", "dim": 4, "target_modules": ["*_proj"]},
    "run": {
        "env": {"nodes": 1, "env_vars": {"A": "b"}},
        "data": "tiny:latest",
        "job_env": ["X"],
        "wandb": {"project": "p"},
    },
    "rng": {"seed": 1, "ranked": True},
    "packed_sequence": {"packed_sequence_size": 0},
    "fp8": {"enabled": False},
    "compile": {"enabled": False},
    "mlflow": {"experiment_name": "a"},
}


_LOOKS = st.sampled_from(
    (("check",), ("check", "--json"), ("--dry-run",), ("--dry-run", "--full"), ("--dry-run", "--json"))
)


@dataclass(frozen=True)
class Made:
    """Texts of one launch."""

    config: str
    env: str
    block: str = ""
    recipe: str = "pretrain"
    profile: str = "here"
    overrides: tuple[str, ...] = ()
    offline: bool = True
    look: tuple[str, ...] = ("check",)  # the command, and how much it shows


def _paths(node: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [above] if above else []
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        found += _paths(value, (*above, key))
    return found


def _put(data: Any, path: tuple[Any, ...], value: Any) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value


@st.composite
def _changed(draw: st.DrawFn, good: dict[str, Any]) -> dict[str, Any]:
    """A config in which some values are others, and some keys are new."""
    data = copy.deepcopy(good)
    for section in draw(st.lists(st.sampled_from(sorted(_MORE)), max_size=2, unique=True)):
        data.setdefault(section, copy.deepcopy(_MORE[section]))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(data)))
        value = draw(VALUES)
        if draw(st.integers(0, 4)) == 0:
            path = (*path[:-1], draw(KEYS)) if isinstance(path[-1], str) else path
        _put(data, path, copy.deepcopy(value))
    return data


@st.composite
def _torn(draw: st.DrawFn, text: str) -> str:
    """A text with a piece cut out, or one put in."""
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.sampled_from((0, 1, 2, 10, 200))))
    pieces = (
        "",
        ":",
        "- ",
        "&a ",
        "*a",
        "? ",
        "!!python/name:os.system ",
        "!!set ",
        "!!binary ",
        "<<: *a",
        "{",
        "[",
        "}",
        "|",
        ">",
        "%",
        "---\n",
        "\n...\n",
        "\t",
        "\0",
        "=",
        "[x]\n",
        "[[x]]\n",
        "'''",
        '"',
        "[a.b]\n",
        "@",
        "`",
        "!",
        "!!int ",
        "!!float ",
        "!!timestamp ",
        "!!omap ",
        "2026-01-01: ",
        "null: ",
        "~: ",
        "1: ",
        "1.5: ",
        "? [a]\n: b\n",
        "? {a: b}\n: c\n",
    )
    return text[:start] + draw(st.sampled_from(pieces)) + text[end:]


def _dump(data: Any) -> str:
    try:
        return yaml.safe_dump(data, sort_keys=False)
    except yaml.YAMLError:
        return str(data)


_GOOD = {
    "pretrain": (_TINY, _NANO, {**_SMALL, "defaults": [str(ROOT / "configs/pretrain/tiny")]}),
    "data-prep": (_PREP,),
}
_ENV = {name: f"[{name}]\n{text}{BARE if name == 'site' else ''}" for name, text in BASE.items()}


@st.composite
def configs(draw: st.DrawFn) -> Made:
    """Launches with an odd config."""
    recipe = draw(st.sampled_from(("pretrain", "pretrain", "pretrain", "data-prep")))
    text = _dump(draw(_changed(draw(st.sampled_from(_GOOD[recipe])))))
    if draw(st.integers(0, 3)) == 0:
        text = draw(_torn(text))
    profile = draw(st.sampled_from(("here", "site", "docker")))
    return Made(text, _ENV[profile], recipe=recipe, profile=profile, look=draw(_LOOKS))


@st.composite
def profiles(draw: st.DrawFn) -> Made:
    """Launches with an odd env.toml."""
    profile = draw(st.sampled_from(("here", "site", "site", "docker")))
    lines = {line.partition(" = ")[0]: line.partition(" = ")[2] for line in _ENV[profile].splitlines()[1:]}
    for key in draw(st.lists(st.sampled_from(WRITTEN_KEYS), min_size=1, max_size=3)):
        lines[key] = toml(draw(VALUES))
    text = f"[{profile}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
    for section in draw(st.lists(st.sampled_from(("wandb", "artifacts", "cache", "cli", "a", "a.b")), max_size=1)):
        key = draw(st.sampled_from(("project", "root", "git_dir", "theme", "manifest", "executor", "extends", "x")))
        text += f"[{section}]\n{key} = {toml(draw(VALUES))}\n"
    if draw(st.integers(0, 3)) == 0:
        text = draw(_torn(text))
    return Made(
        _dump(_GOOD["pretrain"][2]), text, profile=profile, offline=draw(st.integers(0, 9)) > 0, look=draw(_LOOKS)
    )


@st.composite
def overrides(draw: st.DrawFn) -> Made:
    """Launches with odd words behind them."""
    known = [".".join(map(str, path)) for path in _paths({**_MORE, **_TINY})]
    known += [f"run.env.{key}" for key in WRITTEN_KEYS]
    words = []
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(known) | KEYS | st.text(max_size=8))
        value = draw(
            SCALARS | VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True, width=2**20).strip())
        )
        form = draw(
            st.sampled_from(
                ("{}={}", "{}={}", "{}={}", "+{}={}", "~{}", "--{}={}", "--{}", "{}", "{}.0={}", "+{}.a={}")
            )
        )
        words.append(form.format(key, value).replace("\0", ""))
    profile = draw(st.sampled_from(("here", "site", "docker")))
    return Made(_dump(_GOOD["pretrain"][2]), _ENV[profile], profile=profile, overrides=tuple(words), look=draw(_LOOKS))


_KEYS_OF_A_BLOCK = (
    *("requires-python", "dependencies", "tool.runspec", "tool", "tool.runspec.schema", "tool.runspec.name"),
    *("tool.runspec.docs", "tool.runspec.backend", "tool.runspec.image", "tool.runspec.commands", "tool.runspec.code"),
    *("tool.runspec.run", "tool.runspec.run.launch", "tool.runspec.config", "tool.runspec.config.dir"),
    *("tool.runspec.config.default", "tool.runspec.config.optional", "tool.runspec.resources"),
    *("tool.runspec.resources.nodes", "tool.runspec.resources.gpus_per_node", "tool.runspec.resources.nproc_per_node"),
)


@st.composite
def blocks(draw: st.DrawFn) -> Made:
    """Launches of a script with an odd metadata block."""
    keys = draw(st.lists(st.sampled_from(_KEYS_OF_A_BLOCK), min_size=1, max_size=4, unique=True))
    text = "".join(f"{key} = {toml(draw(VALUES))}\n" for key in keys)
    if not any(key.startswith("tool.runspec") for key in keys):
        text += 'tool.runspec.name = "x"\n'
    if draw(st.integers(0, 3)) == 0:
        text = draw(_torn(text))
    lines = "".join(f"# {line}\n" for line in text.split("\n"))
    block = f"# /// script\n{lines}# ///\n"
    if draw(st.integers(0, 5)) == 0:
        block = draw(_torn(block))
    return Made("a: 1\n", _ENV["here"], block=block, recipe="own", look=draw(_LOOKS))
