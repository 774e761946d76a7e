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
_ARGUMENT = re.compile(r"\b\w+\s*=(?!=)")
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
    sections = (_section(frame, config, frame is frames[-1]) for frame in reversed(frames))
    section = next(filter(None, sections), None)
    section = section or _by_file(frames, config)
    if section is None and stage == "schedule":
        section = "lr_scheduler"
    below = dict(leaves(config, section)) if section else dict(leaves(config, None))
    if argument:
        named = [key for key in below if key.split(".")[-1] == argument[1]]
        return named[0] if len(named) == 1 else section
    return _leaf(below, text, source, within=section is not None) or _spelt_out(config, text) or section


def _spelt_out(config: Mapping[str, Any], text: str) -> str | None:
    """The one key of all whose name, of several words, a message has in quotes: it knows better than the frames."""
    quoted = set(re.findall(r"[`'\"](\w+_\w+)[`'\"]", text))
    named = [key for key, _ in leaves(config, None) if key.split(".")[-1] in quoted]
    return named[0] if len(named) == 1 else None


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
        if parts and not (among_others and not isinstance(_at(config, parts), Mapping)):
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


def _at(config: Any, parts: list[str]) -> Any:
    for part in parts:
        config = config[part]
    return config


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
    """The leaves of a section, or of everything, by their dotted keys."""
    value: Any = config
    at = tuple(section.split(".")) if section else ()
    for part in at:
        value = value.get(part) if isinstance(value, Mapping) else None
    for path, leaf in paths(value, at).items() if isinstance(value, Mapping) else ():
        if not isinstance(leaf, Mapping):
            yield ".".join(path), leaf


def paths(value: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Path -> value of whatever is no mapping, and of empty mappings."""
    if not isinstance(value, Mapping) or not value:
        return {at: value} if at else {}
    found: dict[tuple[str, ...], Any] = {}
    for key, item in value.items():
        found.update(paths(item, (*at, str(key))))
    return found


def _common(shown: str) -> bool:
    """Whether a value tells nothing by itself: a message may have such a number for any reason."""
    return shown.lower() in _TRIVIAL or bool(re.fullmatch(r"\d{1,3}", shown))


def _leaf(below: Mapping[str, Any], text: str, source: str, *, within: bool) -> str | None:
    """The one leaf whose name, or telling value, stands in the message, else in the source line."""
    for words in (text, source) if within else (text,):
        scores: dict[str, int] = {}
        for key, value in below.items():
            name = key.split(".")[-1]
            score = 2 * bool(len(name) > 1 and re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words, re.I))
            shown = str(value)
            if within and not _common(shown) and not name.startswith("_"):
                score += bool(re.search(rf"(?<![\w.]){re.escape(shown)}(?![\w])", words))
            if score:
                scores[key] = score
        best = [key for key, score in scores.items() if score == max(scores.values())]
        if len(best) == 1:
            return best[0]
    return None
