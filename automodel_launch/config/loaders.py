"""PyYAML's loaders, as configs are read: without dates and base-60 numbers, and with YAML 1.2's floats."""

from __future__ import annotations

import re
from typing import Any

import yaml

from automodel_launch.config import bounds

_DROPPED = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"""[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$""",
    re.X,
)
_SMALL = 256 << 10  # characters that PyYAML's own parser reads in a second
_CBase: Any = getattr(yaml, "CSafeLoader", None)  # None where PyYAML was built without libyaml


class Loader(yaml.SafeLoader):
    """PyYAML without dates and base-60 numbers (`time: 04:00:00`), and with `1e-4` as a float (YAML 1.2)."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _DROPPED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))

# libyaml's parser is ten times as fast, and refuses a little that PyYAML's own takes (`{env:}`)
LOADERS: list[Any] = [Loader]
if _CBase is not None:
    LOADERS.insert(0, type("_CLoader", (_CBase,), {"yaml_implicit_resolvers": Loader.yaml_implicit_resolvers}))


def composed(text: str, where: str) -> tuple[Any, yaml.Node | None]:
    """A loader and the tree of the text, which its `construct_document` makes values of; None for an empty text.

    Raises:
        ConfigError: there is more than a config may hold; `where` says of what.
        yaml.YAMLError: it is not YAML.
    """
    for loader in LOADERS[:-1]:
        try:
            return _composed(text, where, loader)
        except yaml.YAMLError:
            if len(text) > _SMALL:
                raise
    return _composed(text, where, LOADERS[-1])


def _composed(text: str, where: str, loader: Any) -> tuple[Any, yaml.Node | None]:
    bounds.check_text(text, where, loader)
    made = loader(text)
    node = made.get_single_node()
    if node is not None:
        bounds.check_nodes(node, where)
    return made, node
