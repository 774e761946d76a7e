"""Overrides from the command line: `key.sub=value`, `+key=value`, `~key`, and AutoModel's `--key.sub value`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from automodel_launch.config import yamlio
from automodel_launch.errors import ConfigError, UsageError

MARK = "\0"
_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


@dataclass(frozen=True)
class Override:
    """One change to the merged config. `dashed` remembers the form `--key`, for a message on a misspelt option."""

    action: Literal["set", "add", "remove"]
    key: str
    value: Any
    text: str
    dashed: bool = False


def split(argv: list[str], with_value: set[str], flags: set[str]) -> list[str]:
    """A command line for argparse, in which overrides in AutoModel's form become `MARK--key=value`, in their order.

    `with_value` and `flags` are the launcher's own options; argparse would refuse any other word with two dashes.
    """
    own: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        name = token.partition("=")[0]
        if token == "--":
            return [*own, token, *rest]
        if name in with_value:
            own.append(token)
            if "=" not in token and rest:
                own.append(rest.pop(0))
        elif name in flags or not token.startswith("--"):
            own.append(token)
        elif "=" not in token and rest and _is_value(rest[0], dotted="." in name):
            own.append(f"{MARK}{token}={rest.pop(0)}")
        else:
            own.append(f"{MARK}{token}")
    return own


def _is_value(token: str, dotted: bool) -> bool:
    """The word behind `--key` is its value; behind one without a dot, which may be a misspelt flag, rarely."""
    return not token.startswith("--") and (dotted or (not token.startswith(("-", "+", "~")) and "=" not in token))


def parse(text: str) -> Override:
    """One override.

    Raises:
        UsageError: it has none of the forms.
        ConfigError: its value is not YAML, and the key not the profile's.
    """
    text = text.removeprefix(MARK)
    dashed = text.startswith("--")
    body = text[2:] if dashed else text
    if body.startswith("~") and not dashed:
        return Override("remove", _key(body[1:], text), None, text)
    action: Literal["set", "add"] = "add" if body.startswith("+") and not dashed else "set"
    key, equals, value = (body[1:] if action == "add" else body).partition("=")
    if not equals and not dashed:
        raise UsageError(
            f"'{text}' is not understood: an override has the form key.sub=value.", "python launch.py RECIPE --help"
        )
    in_profile = key.startswith("run.env.")
    try:
        parsed = yamlio.value(value, octal=in_profile) if equals else None
    except ConfigError as error:
        if not in_profile:
            raise ConfigError(f"override {text}: {error.message}", error.hint) from error
        parsed = value  # text, which most of its keys take
    return Override(action, _key(key, text), parsed, text, dashed)


def _key(key: str, text: str) -> str:
    if not _KEY.fullmatch(key):
        raise UsageError(f"'{text}' is not understood: {key!r} is not a key.", _as_a_key(key))
    return key


def _as_a_key(key: str) -> str:
    """The key that was probably meant: without blanks, Hydra's `++`, and brackets."""
    meant = re.sub(r"\[(\d+)\]", r".\1", key.strip()).lstrip("+")
    form = "a key is names with dots"
    return (
        f"{form}: {meant}=VALUE, without blanks" if meant != key and _KEY.fullmatch(meant) else f"{form}: optimizer.lr"
    )
