"""What an exception says about the configuration: where it was raised, of which section it is, and of which key."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_OURS = str(Path(__file__).resolve().parents[1]) + "/"
_TEXT = 600  # characters of a message that are kept
_SECTION = re.compile(r"\b(?:cfg|config)(?:\.get\(\s*[\"']|\.|\[[\"'])([a-z_][a-z0-9_.]*)")
_NODES = ("self", "dataset_node", "cfg_ds", "cfg_teacher")  # locals of AutoModel's that hold the section at work
_TRIVIAL = ("", "0", "1", "-1", "true", "false", "none", "0.0", "1.0")
_PLACES = (  # file -> section, for what has no section in its frames: the step itself
    ("/torch/optim/", "optimizer"),
    ("/components/optim/scheduler", "lr_scheduler"),
    ("/components/optim/", "optimizer"),
    ("/components/loss/", "loss_fn"),
    ("/components/datasets/", "dataset"),
    ("/components/training/step_scheduler", "step_scheduler"),
    ("/components/distributed/", "distributed"),
    ("/components/checkpoint/", "checkpoint"),
    ("/components/_peft/", "peft"),
    ("/transformers/modeling_rope_utils", "model"),
    ("/transformers/models/", "model"),
    ("/components/models/", "model"),
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
    key = error.key if isinstance(error, Fault) else key_of(frames, text, source or "", stage, config)
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
    section = next(filter(None, (_section(frame, config) for frame in reversed(frames))), None)
    section = section or _by_file(frames, config)
    if section is None and stage == "schedule":
        section = "lr_scheduler"
    below = dict(leaves(config, section)) if section else dict(leaves(config, None))
    if argument:
        named = [key for key in below if key.split(".")[-1] == argument[1]]
        return named[0] if len(named) == 1 else section
    return _leaf(below, text, source, within=section is not None) or section


def _section(trace: TracebackType, config: Mapping[str, Any]) -> str | None:
    """The section that a frame works on: a node among its locals, or what its line takes from the configuration."""
    local = trace.tb_frame.f_locals
    for name in _NODES:
        path = _path_of(local.get(name), config)
        if path:
            return path
    if "/nemo_automodel/recipes/" not in trace.tb_frame.f_code.co_filename:
        return None
    for key in _SECTION.findall(_statement(trace)):
        parts = key.rstrip(".").split(".")
        while parts:
            if _has(config, parts):
                return ".".join(parts)
            parts.pop()
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
    for trace in reversed(frames):
        file = trace.tb_frame.f_code.co_filename
        for part, section in _PLACES:
            if part in file and section in config:
                return section
    return None


def leaf_below(config: Mapping[str, Any], section: str, text: str, source: str) -> str | None:
    """The one leaf of a section that a message, else its source line, speaks of."""
    return _leaf(dict(leaves(config, section)), text, source, within=True)


def leaves(config: Mapping[str, Any], section: str | None) -> Iterator[tuple[str, Any]]:
    """The leaves of a section, or of everything."""
    value: Any = config
    for part in section.split(".") if section else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        return
    stack = [(f"{section}." if section else "", value)]
    while stack:
        above, mapping = stack.pop()
        for key, item in mapping.items():
            if isinstance(item, Mapping):
                stack.append((f"{above}{key}.", item))
            else:
                yield f"{above}{key}", item


def _leaf(below: Mapping[str, Any], text: str, source: str, *, within: bool) -> str | None:
    """The one leaf whose name, or telling value, stands in the message, else in the source line."""
    for words in (text, source):
        scores: dict[str, int] = {}
        for key, value in below.items():
            name = key.split(".")[-1]
            score = 2 * bool(len(name) > 1 and re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words, re.I))
            shown = str(value)
            if within and shown.lower() not in _TRIVIAL and not name.startswith("_"):
                score += bool(re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w])", words))
            if score:
                scores[key] = score
        best = [key for key, score in scores.items() if score == max(scores.values())]
        if len(best) == 1:
            return best[0]
    return None
