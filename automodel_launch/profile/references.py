"""`${oc.env:NAME}`, `${oc.env:NAME,default}` and `${key}` in a merged profile -> values, as OmegaConf reads them.

In shell lines only `${oc.env:...}` is one: `${NAME}` is the shell's there. A secret's value never enters a profile: a
variable of `env_vars` that takes a secret of its own name becomes an entry of `secrets`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from automodel_launch.errors import ProfileError
from automodel_launch.profile import hidden
from automodel_launch.profile.secret_names import is_secret

_SHELL = ("setup_lines", "startup_commands")
_OPENED = re.compile(r"\$\{(?P<env>\s*oc\.env:)|\$\{(?P<decode>\s*oc\.decode:)|\$\{(?P<key>[a-z_]+)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 1_000_000  # references to what is full of references multiply
_FORMS = "${oc.env:NAME} or ${oc.env:NAME,default}"

Values = dict[str, Any]


class _Nothing(Exception):
    """The value is null: as if the key had not been written."""


def has(value: object) -> bool:
    """A string that holds a reference, so that its kind is known once that is resolved."""
    return isinstance(value, str) and bool(_OPENED.search(value))


def resolve(values: Values, sources: dict[str, str], environ: Mapping[str, str]) -> tuple[Values, dict[str, str]]:
    """The profile's values without references, and the source of each, which names the variables of this shell.

    Raises:
        ProfileError: a variable is not set and has no default, is a secret's, or the reference is not complete.
    """
    values, sources = _secrets_aside(values, sources, environ)
    scope = _Scope(values, sources, environ)
    try:
        resolved = scope.table("", values)
    except RecursionError:
        raise ProfileError("a profile's references are nested too deeply to be read.") from None
    sources = {key: source for key, source in sources.items() if key.partition(".")[0] in resolved}
    for key, names in scope.used.items():
        if key in sources:
            sources[key] += "".join(f", ${name}" for name in dict.fromkeys(names))
    return resolved, sources


def section(table: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> Values:
    """The same for a section that is no profile; `where` names it.

    Raises:
        ProfileError: see resolve.
    """
    resolved, _ = resolve(dict(table), dict.fromkeys(table, where), environ)
    for key, value in resolved.items():
        if isinstance(value, str) and "${" in value:
            raise ProfileError(
                f"{where}: {key} = {hidden.value(key, value)!r}: a section has no such reference: it sees no profile.",
                f"{_FORMS}, or ${{key}} with a key of {where.rpartition(' ')[2]}",
            )
    return resolved


class _Scope:
    """Look-ups of one profile."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self.values, self.sources, self.environ = values, sources, environ
        names = values.get("secrets")  # of any kind: it is checked only when references are resolved
        self.secrets = {str(name) for name in names} if isinstance(names, list | tuple) else {str(names)}
        self.inside: list[str] = []  # keys that are being resolved
        self.used: dict[str, list[str]] = {}  # key -> variables that are set and were read for it

    def table(self, above: str, table: Mapping[str, Any]) -> Values:
        """A mapping without the entries that are null."""
        found: Values = {}
        for name, value in table.items():
            with contextlib.suppress(_Nothing):
                found[name] = self._any(f"{above}{name}", value)
        return found

    def _any(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.table(f"{key}.", value)
        if isinstance(value, list | tuple):
            return list(self._entries(key, value))
        return self.text(key, value) if isinstance(value, str) and "${" in value else value

    def _entries(self, key: str, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            with contextlib.suppress(_Nothing):
                yield self._any(key, value)

    def text(self, key: str, text: str) -> str:
        """A string with its references resolved.

        Raises:
            _Nothing: it is one reference, whose default is null.
        """
        out, rest = "", text
        while match := _OPENED.search(rest):
            if match["key"] and (key in _SHELL or not self._scalar(match["key"])):
                out, rest = out + rest[: match.end()], rest[match.end() :]
                continue
            out, rest = out + rest[: match.start()], rest[match.start() :]
            end = _end(rest)
            if end is None:
                shown = hidden.value(key, text)
                raise ProfileError(f"{self._where(key)}: {shown!r}: a reference is not closed.", _FORMS)
            found, rest = self._value(key, rest[2:end]), rest[end + 1 :]
            if found is None and not out and not rest:
                raise _Nothing
            out += found or ""
            if len(out) > _LONGEST:
                raise ProfileError(f"{self._where(key)}: its references stand for more than {_LONGEST:,} characters.")
        return out + rest

    def _where(self, key: str) -> str:
        source = self.sources.get(key) or self.sources.get(key.partition(".")[0])
        return f"{key} ({source})" if source else key

    def _scalar(self, name: str) -> bool:
        return isinstance(self.values.get(name), str | int | float) and name not in _SHELL

    def _value(self, key: str, inside: str) -> str | None:
        kind, colon, rest = inside.partition(":")
        if not colon:
            return self._of_key(key, inside)
        if kind.strip() == "oc.decode":  # the schema knows the kind of the key
            return self.text(key, rest.strip())
        name, comma, default = (part.strip() for part in rest.partition(","))
        if not _NAME.fullmatch(name):
            raise ProfileError(f"{self._where(key)}: {name!r} is not the name of a variable.", _FORMS)
        if is_secret(name) or name in self.secrets:
            raise _secret(self._where(key), key, name)
        if name in self.environ:
            self.used.setdefault(key, []).append(name)
            return self.environ[name]
        if not comma:
            raise _unset(self._where(key), name)
        return None if default == "null" else self.text(key, _unquoted(default))

    def _of_key(self, key: str, name: str) -> str:
        if name in self.inside:
            circle = " -> ".join([*self.inside, name])
            raise ProfileError(f"{self._where(key)}: the references run in a circle: {circle}")
        value = self.values[name]
        self.inside.append(name)
        try:
            return self.text(name, value) if isinstance(value, str) else str(value)
        finally:
            self.inside.pop()


def _secrets_aside(
    values: Values, sources: dict[str, str], environ: Mapping[str, str]
) -> tuple[Values, dict[str, str]]:
    """`env_vars.HF_TOKEN = "${oc.env:HF_TOKEN,''}"` -> `secrets`; left out where it is unset and the default empty."""
    table, sources = values.get("env_vars"), dict(sources)
    if not isinstance(table, Mapping):
        return dict(values), sources
    names = values.get("secrets")
    secrets = [*names] if isinstance(names, list | tuple) else []
    kept: Values = {}
    for name, value in table.items():
        default = _of_itself(name, value) if is_secret(name) or name in secrets else None
        if default is None:
            kept[name] = value
            continue
        place = sources.pop(f"env_vars.{name}", "")
        if name not in secrets and (name in environ or default == _REQUIRED):
            secrets.append(name)
            sources.setdefault("secrets", place)
        elif name not in environ and default not in ("", "null", _REQUIRED):
            kept[name] = default  # a secret that is written down, and refused as one
            sources[f"env_vars.{name}"] = place
    return {**values, "env_vars": kept, **({"secrets": secrets} if secrets else {})}, sources


_REQUIRED = "\0"


def _of_itself(name: str, value: object) -> str | None:
    """The default, or `_REQUIRED`, of a value that is a reference to the variable of the same name; None for others."""
    match = re.fullmatch(r"\$\{\s*oc\.env:\s*(\w+)\s*(?:,(.*))?\}", value, re.S) if isinstance(value, str) else None
    if match is None or match[1] != name:
        return None
    return _REQUIRED if match[2] is None else _unquoted(match[2].strip())


def _end(text: str) -> int | None:
    """Where the brace that `text` begins with is closed."""
    depth = 0
    for position, letter in enumerate(text):
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return position
    return None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _unset(where: str, name: str) -> ProfileError:
    return ProfileError(
        f"{where}: the environment variable {name} is not set in this shell, and has no default.",
        f"export {name}=..., or ${{oc.env:{name},DEFAULT}}",
    )


def _secret(where: str, key: str, name: str) -> ProfileError:
    table, _, variable = key.partition(".")
    hint = f'secrets = ["{name}"] in the profile, and ${name} where a shell line needs it'
    if table == "env_vars" and variable:
        hint = f'export {variable}="${name}" in this shell, and {variable} = "${{oc.env:{variable}}}" in the profile'
    return ProfileError(f"{where} refers to {name}, a secret: its value would stand in the plan.", hint)
