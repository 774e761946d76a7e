"""What is shown of values that may be secrets: `***` in their place, by the rules that refuse them in a launch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from automodel_launch.profile import config_secrets
from automodel_launch.profile.secret_names import is_secret
from automodel_launch.secret_rules import URL_PASSWORD, secret_values

HIDDEN = "***"
REFERS = ("$", "`", "<", "{", "*")  # to a variable or a command's output, or stands for what a reader puts there
_SHELL = re.compile(r"""\b([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;&|,]*)""")
# An override or an entry of a mapping, with a fault in it perhaps: `a.token=x`, `a.token:x`, `"token": "x"`.
_ASSIGNED = re.compile(r"""\b([A-Za-z_][\w.-]*)["']?\s*(=|:)\s*(?:@|!|&)?("[^"]*"|'[^']*'|\S+)""")
_AFTER = "'\",;:.?)}]"  # the signs that a message has behind what it quotes
_LOGIN = re.compile(r"[^\s/?#:@'\"]+:([^\s/?#:@'\"]+)@(?=[\w\[])(?!sha\d+\b|[a-z]+:[0-9a-f]{32})")
"""A password before a host without a scheme, user:PASSWORD@host: group 1. A digest is none: image:TAG@sha256:..."""
# What their makers mark as a token, wherever it stands; as long as they are, so that no word looks like one.
_ISSUED = re.compile(
    r"(?<![\w-])(hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|nvapi-[\w-]{30,}"
    r"|xox[abprs]-[\w-]{20,}|AKIA[0-9A-Z]{16})(?![\w-])"
)
_HOOKS = re.compile(r"(^|\.)(slack|discord|discordapp|office|logic\.azure|zapier|ifttt|telegram)\.(com|org)$")
_LOGINS = ("container_image", "host", "build_image", "build_registry")


def password(key: str, text: str) -> str | None:
    """The password inside a value of a profile's key: in a URL, or before the host of an image or of ssh."""
    found = URL_PASSWORD.search(text) or (_LOGIN.match(text) if key in _LOGINS else None)
    written = found[found.re.groups] if found else "$"
    return None if written.startswith(REFERS) else written


def assigned(line: str) -> Iterator[tuple[str, str]]:
    """(variable, value) of each NAME=value in a shell line that writes a secret down."""
    for name, written in _SHELL.findall(line):
        literal = written.strip("\"'")
        if is_secret(name) and not literal.startswith(REFERS) and secret_values({name: literal}):
            yield name, literal


def is_hook(entry: str) -> bool:
    """Whether an entry of `notify` is a URL with which anybody who has it could write there."""
    if entry.startswith("slack:"):
        return not entry.startswith("slack:env:")
    if not entry.lower().startswith(("http://", "https://")):
        return False
    try:
        url = urlsplit(entry)
    except ValueError:  # an odd host
        return True
    parts = re.split(r"[^A-Za-z0-9]+", f"{url.path} {url.query} {url.fragment}")
    known = _HOOKS.search(url.hostname or "")
    return bool(url.username or url.query or known) or any(map(config_secrets.looks_drawn, parts))


def issued(text: str) -> bool:
    """Whether a token stands in the text, whatever is before and behind it: `Authorization: Bearer hf_...`."""
    return _ISSUED.search(text) is not None


def value(key: str, held: Any) -> Any:
    """A profile's value as it may be shown; `key` is dotted (env_vars.NAME), and empty for the whole."""
    if isinstance(held, Mapping):
        return {name: value(f"{key}.{name}".lstrip("."), entry) for name, entry in held.items()}
    if isinstance(held, list | tuple):
        return [value(key, entry) for entry in held]
    table, _, name = key.partition(".")
    if table == "env_vars" and is_secret(name) and held not in ("", None):
        return _reference(str(held)) or HIDDEN
    if not isinstance(held, str):
        return held
    if table == "notify" and is_hook(held):
        return HIDDEN
    for _, literal in assigned(held):
        held = held.replace(literal, HIDDEN)
    found = password(key, held)
    held = held.replace(f":{found}@", f":{HIDDEN}@") if found else held
    return _by_form(held)


def message(*texts: str | None) -> list[str | None]:
    """What is said about a command line or a file, which it may quote: each text without the secrets of all of them."""
    told = "\n".join(filter(None, texts))
    found = set(_secrets_in(told))
    longest_first = sorted(found, key=len, reverse=True)
    return [text and _without(text, longest_first) for text in texts]


def _secrets_in(text: str) -> Iterator[str]:
    for name, sign, quoted in _ASSIGNED.findall(text):
        own, written = name.rpartition(".")[2], quoted.rstrip(_AFTER).lstrip("\"'")
        # In a variable whatever it holds is refused; but `HF_TOKEN: words` is what is said about one.
        is_variable = sign == "=" and own.isupper() and is_secret(own) and not written.startswith(REFERS)
        if secret_values({own: written}) if is_variable else config_secrets.is_written(name, written):
            yield written


def _without(text: str, found: list[str]) -> str:
    for secret in found:
        text = text.replace(secret, HIDDEN)
    return _by_form(text)


def _by_form(text: str) -> str:
    """Without what its own form shows to be a secret."""
    return _ISSUED.sub(HIDDEN, URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text))


def _reference(text: str) -> str | None:
    """`${oc.env:NAME}` as it is, without its default; None for what is no reference."""
    match = re.fullmatch(r"(\$\{\s*oc\.env:\s*\w+\s*)(,.*)?\}", text, re.S)
    if match is None:
        return None
    return text if (match[2] or "").strip(", '\"") in ("", "null") else f"{match[1]},{HIDDEN}}}"
