"""What an exception says about the configuration: where it was raised, of which section it is, and of which key."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from . import datasets, leaves

_OURS = str(Path(__file__).resolve().parents[1]) + "/"
_TEXT = 600  # characters of a message that are kept
_SECTION = re.compile(r"\b(?:cfg|config)(?:\.get\(\s*[\"']|\.|\[[\"'])([a-z_][a-z0-9_.]*)")
_ARGUMENT = re.compile(r"\b\w+\s*=(?!=)")
_NODES = ("self", "dataset_node", "cfg_ds", "cfg_teacher")  # locals of AutoModel's that hold the section at work
_PLACES = (  # file -> section, for what has no section in its frames: the step itself
    ("/torch/optim/", "optimizer"),
    ("/components/optim/scheduler", "lr_scheduler"),
    ("/components/optim/", "optimizer"),
    ("/components/loss/kd_loss", "kd_loss_fn"),
    ("/components/loss/", "loss_fn"),
    ("/components/datasets/", "dataset"),
    ("/components/training/step_scheduler", "step_scheduler"),
    ("/components/distributed/", "distributed"),
    ("/components/checkpoint/", "checkpoint"),
    ("/components/_peft/", "peft"),
    ("/transformers/modeling_rope_utils", "model"),
    ("/transformers/models/", "model"),
    ("/components/models/", "model"),
    ("/_transformers/tokenization/", "dataset"),
    ("/_transformers/", "model"),
)


class Fault(Exception):
    """A fault that a rehearsal has to look for by itself; `kind` is the exception that the job would raise."""

    def __init__(self, kind: str, text: str, key: str | None) -> None:
        super().__init__(text)
        self.kind, self.key = kind, key


def describe(error: BaseException, stage: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The refusal that `error` is, with the key of `config` (a plain mapping) where that can be told."""
    frames = list(_frames(error.__traceback__))
    file, line, source = _place(frames)
    text = _text(error)
    if isinstance(error, Fault):
        key = error.key and (leaves.leaf_below(config, error.key, text, "") or error.key)
    else:
        key = key_of(frames, text, source or "", stage, config)
    return {
        "stage": stage,
        "type": error.kind if isinstance(error, Fault) else type(error).__name__,
        "text": text,
        "file": file,
        "line": line,
        "source": source,
        "key": key,
        "key_by": "section" if key else None,
        "override": None,
    }


def _text(error: BaseException) -> str:
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(said).split())[:_TEXT]


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            yield trace
        trace = trace.tb_next


def _place(frames: list[TracebackType]) -> tuple[str | None, int | None, str | None]:
    """File, line and source line that tell most: the last one of AutoModel, else of any package, else of all."""
    named = [(frame.tb_frame.f_code.co_filename, frame.tb_lineno) for frame in frames]
    packages = [place for place in named if "site-packages" in place[0] or "dist-packages" in place[0]]
    own = [place for place in named if place not in packages and "/lib/python" not in place[0] and place[0][:1] == "/"]
    automodel = [place for place in packages if "/nemo_automodel/" in place[0]]
    found = (own if own and named and own[-1] == named[-1] else None) or automodel or packages or named
    if not found:
        return None, None, None
    file, line = found[-1]
    short = re.split(r"(?:site|dist)-packages/", file)[-1]
    return short, line, linecache.getline(file, line).strip() or None


def key_of(frames: list[TracebackType], text: str, source: str, stage: str, config: Mapping[str, Any]) -> str | None:
    """The key that the failure comes from, as far as frames and message tell."""
    argument = re.search(r"unexpected keyword argument '(\w+)'", text)
    sections = (_section(frame, config, frame is frames[-1]) for frame in reversed(frames))
    section = _of_data(frames, config) or next(filter(None, sections), None) or _by_file(frames, config)
    if section is None and stage == "schedule":
        section = "lr_scheduler"
    below = dict(leaves.leaves(config, section)) if section else dict(leaves.leaves(config, None))
    if argument:
        named = [key for key in below if key.split(".")[-1] == argument[1]]
        return named[0] if len(named) == 1 else section
    told = (
        leaves.spoken_of(below, text, source, within=section is not None) or leaves.spelt_out(config, text) or section
    )
    return told or leaves.only_one(
        config, lambda key, value: key.split(".")[-1] in set(re.findall(r"\w+_\w+", source)) and f"{value}" in text
    )


def _of_data(frames: list[TracebackType], config: Mapping[str, Any]) -> str | None:
    """The data set that was being made: AutoModel 0.7.0, train_ft.py:881, makes it in a line that names its loader."""
    if not any(frame.tb_frame.f_code.co_name == "_build_dataset" for frame in frames):
        return None
    validation = any("dl_config" in _statement(frame) for frame in frames)
    sections = datasets.held_out(config) if validation else datasets.training(config)
    return sections[0] if len(sections) == 1 else None


def _section(trace: TracebackType, config: Mapping[str, Any], innermost: bool) -> str | None:
    """The section that a frame works on: a node among its locals, or what its line takes from the configuration.

    A single value that is handed to a call among others is not what that call works on.
    """
    local = trace.tb_frame.f_locals
    for name in _NODES:
        path = _path_of(local.get(name), config)
        if path:
            return path
    if "/nemo_automodel/recipes/" not in trace.tb_frame.f_code.co_filename:
        return None
    statement = _statement(trace)
    keys = _SECTION.findall(statement)
    among_others = not innermost and len(_ARGUMENT.findall(statement)) > len(keys)
    for key in keys:
        parts = key.rstrip(".").split(".")
        while parts and not _has(config, parts):
            parts.pop()
        if parts and not (among_others and not isinstance(leaves.get(config, parts), Mapping)):
            return ".".join(parts)
    name = trace.tb_frame.f_code.co_name
    return name if name in config else None


def _path_of(node: Any, config: Mapping[str, Any]) -> str | None:
    """Where in the configuration a ConfigNode stands, by what it was made of."""
    made_of = getattr(node, "_raw_config", None) if type(node).__name__ == "ConfigNode" else None
    if not made_of or made_of == config:
        return None
    return next((path for path, value in _mappings(config, "") if value == made_of), None)


def _mappings(config: Mapping[str, Any], above: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield f"{above}{key}", value
            yield from _mappings(value, f"{above}{key}.")


def _statement(trace: TracebackType) -> str:
    """The source of the call under way, which may have several lines."""
    code = trace.tb_frame.f_code
    first = last = trace.tb_lineno
    if hasattr(code, "co_positions"):  # Python 3.11
        positions = list(code.co_positions())[trace.tb_lasti // 2]
        first, last = positions[0] or first, positions[1] or last
    return "".join(linecache.getline(code.co_filename, number) for number in range(first, last + 1))


def _has(config: Any, parts: list[str]) -> bool:
    for part in parts:
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True


def _by_file(frames: list[TracebackType], config: Mapping[str, Any]) -> str | None:
    targets = {
        key.rpartition(".")[0]: str(value) for key, value in leaves.leaves(config, None) if key.endswith("._target_")
    }
    for trace in reversed(frames):
        file = trace.tb_frame.f_code.co_filename
        own = [section for section, target in targets.items() if _is_in(target, file)]
        if len(own) == 1:
            return own[0]
        for part, section in _PLACES:
            if part in file and section in config:
                return section
    return None


def _is_in(target: str, file: str) -> bool:
    """Whether `my/model.py:build` or `mine.model.build` is in a file of a person's own."""
    module = target.partition(":")[0] if ".py:" in target else f"{target.rpartition('.')[0].replace('.', '/')}.py"
    return "-packages/" not in file and file.endswith(f"/{module}")
