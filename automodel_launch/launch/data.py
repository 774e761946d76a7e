"""The data of a plan: links such as `latest` are followed once, and what the files are goes into the plan's hash.

Only files that this machine sees are looked at. Over a connection the config keeps its links, the plan says that the
identity is not known, and the job takes it in when it begins (recipes/node_agent_lib/data.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from automodel_launch import data_identity
from automodel_launch.backends import Backend, Data
from automodel_launch.config import dotted, merge
from automodel_launch.errors import ConfigError
from automodel_launch.frozen import thaw
from automodel_launch.plan.mounts import Mount, pairs

_MAGIC = "*?["
_CHANGED = ("refuse", "allow")
_RUN = "@run"  # the run is named after its data; what lies in its directory is none of them


@dataclass(frozen=True)
class Found:
    """`known`: what data_identity.look() says; `links`: a path as it was written -> the one behind its links."""

    known: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str | None:
        """The identity, where it is known."""
        return self.known.get("digest")

    def of_plan(self, data: Data, allow: bool) -> dict[str, Any]:
        """Plan.data; `allow`: a run that began with other data goes on with these."""
        if not data.named:
            return {}
        named = [[form, value] for form, _, value in data.named]
        allowed = (self.digest or True) if allow else None
        return {"named": named, "caches": list(data.caches), "allow": allowed, **self.known}

    def follow_links(self, backend: Backend, config: merge.Config) -> merge.Config:
        """The config with the directory of that moment in place of each link, told beside the value's source."""
        data, sources = thaw(config.data), dict(config.sources)
        for reference in backend.references(config.data):
            new = _with_links(reference.value, self.links) if reference.kind == "data" else reference.value
            if new != reference.value:
                *parents, leaf = reference.key.split(".")
                dotted.get(data, ".".join(parents))[leaf] = new
                for key in sources:
                    if key == reference.key or key.startswith(f"{reference.key}."):
                        sources[key] += ", links followed"
        return merge.Config(data, sources, config.deferred)


def look(
    backend: Backend,
    config: dict[str, Any],
    mounts: Iterable[Mount],
    visible: bool,
    promise: Callable[[str], str | None] = lambda path: None,
) -> Found:
    """Look at the data that a resolved config names; nothing where it names none. `promise`: who will make a path."""
    values = [[form, value] for form, _, value in backend.data(config, _RUN).named]
    if not values:
        return Found()
    maker = next((who for _, value in values for path in _paths(value) if (who := promise(path))), None)
    if maker:
        return Found({"digest": None, "why": f"made by {maker}", "elsewhere": True})
    if not visible:
        return Found({"digest": None, "why": "they are on the cluster", "elsewhere": True})
    seen = pairs(mounts)
    found = {path: pinned(path, seen) for _, value in values for path in _paths(value)}
    links = {written: behind for written, behind in found.items() if behind != written}
    if any(dotted.left_to_the_job(value) for _, value in values):
        why = "a variable that only the job has names them"
        return Found({"digest": None, "why": why, "elsewhere": True}, links)
    return Found(data_identity.look(values, seen), links)


def pinned(path: str, mounts: list[list[str]]) -> str:
    """The path with every link in it followed that leads to a place below its own directory, as `latest -> 1f2e3d4c`.

    Such a link means the same on every machine and in a container. One that leads elsewhere may not, and stays, as does
    one directly below `/`; then the identity tells whether the data are the same.
    """
    done: list[str] = []
    left = path.split("/")[1:]
    for _ in range(64):
        if not left or any(mark in left[0] for mark in _MAGIC):
            break
        here = data_identity.place("/" + "/".join([*done, left[0]]), mounts)
        target = _link(here) if here and done else None
        name = left.pop(0)
        if target is not None:
            left = [*target.split("/"), *left]
        else:
            done.append(name)
    return "/" + "/".join([*done, *left])


def may_change(config: merge.MergedConfig) -> bool:
    """`run.data_changed`: refuse (default), or allow.

    Raises:
        ConfigError: another value.
    """
    value = config.run.get("data_changed")
    if value not in (None, *_CHANGED):
        where = config.where("run.data_changed")
        raise ConfigError(f"{where}: run.data_changed is refuse or allow, not {value!r}.", "leave it out: it refuses")
    return bool(value == "allow")


def _link(path: str) -> str | None:
    try:
        target = os.readlink(path)  # noqa: PTH115 (the text of the link)
    except OSError:
        return None
    return target if target and not {"", ".."} & set(target.split("/")) else None


def _paths(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value.startswith("/") and not dotted.left_to_the_job(value) else []
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [path for entry in entries for path in _paths(entry)]


def _with_links(value: Any, links: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_links(entry, links) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_links(entry, links) for entry in value]
    return links.get(value, value) if isinstance(value, str) else value
