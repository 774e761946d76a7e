"""Values of secrets, kept out of everything that the agent and its workers write down or print.

One list for the process: who learns of a secret calls `arm`, and files.py and log.py ask here before they write. A
value is found as it is, URL-encoded, as JSON, repr and bash write it, and by its single lines; in a stream also where
two reads have cut it in two. Passwords inside URLs are hidden whoever has set them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, Mapping

import contract
import secret_rules

from .patterns import pattern

HIDDEN = "***"
_LINE = 12  # a line of a value of several lines is hidden where it is so long
_BEGINNING = 8  # so much of a secret at the end of a stream is hidden, too
_URL = pattern(secret_rules.URL_PASSWORD.pattern.partition("(?=")[0].encode())  # what follows may be the next read's
_URL_BEGUN = pattern(rb":(/|//[^\s/?#@'\"]{0,300}@?)?$")
# What names a thing: readers compare it, and it holds nothing of what a program has said.
_NAMES = (
    *("job_id", "run_name", "job_dir", "run_dir", "host", "node", "nodes", "state", "result", "signal", "log", "event"),
    *("slurm_id", "secrets_file", "backend"),
)
_forms: list[bytes] = []  # the longest first


def arm(values: Iterable[str]) -> None:
    """Hide these from now on."""
    known = set(_forms).union(*(_written(value) for value in values))
    _forms[:] = sorted(known, key=lambda form: (-len(form), form))


def arm_environment(environ: Mapping[str, str]) -> None:
    """Hide the values of variables that say that they are secrets, and of those that the profile calls so."""
    named = environ.get(contract.HIDDEN_VAR, "").split(",")
    arm(secret_rules.secret_values(environ, named).values())


def text(line: str) -> str:
    """The text without secrets."""
    try:
        return _bytes(line.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair that JSON has brought
        return _bytes(line.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def record(value: Any, key: str = "") -> Any:
    """A JSON value without secrets in what its strings tell."""
    if isinstance(value, str):
        return value if key in _NAMES else text(value)
    if isinstance(value, dict):
        return {name: record(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [record(item, key) for item in value]
    return value


class Stream:
    """Output that comes in pieces; the end of one is held back while it may be the beginning of a secret."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be written now."""
        data = self._held + data
        cut = _settled(data)
        self._held = data[cut:]
        return _bytes(data[:cut])

    def end(self) -> bytes:
        """The rest: nothing follows."""
        rest, self._held = _bytes(self._held), b""
        begun = any(len(rest) >= _BEGINNING and form.startswith(rest) for form in _forms)
        return HIDDEN.encode() if begun else rest


def _bytes(data: bytes) -> bytes:
    for form in _forms:
        if form in data:
            data = data.replace(form, HIDDEN.encode())
    return _URL.sub(rb"\1:" + HIDDEN.encode() + b"@", data) if b"://" in data else data


def _settled(data: bytes) -> int:
    """Up to where no secret can have begun that ends later, and none lies across."""
    cut = min((_begun(data, form) for form in _forms), default=len(data))
    url = _URL_BEGUN.search(data, max(0, len(data) - 400))
    cut = min(cut, url.start()) if url else cut
    while True:
        at = _across(data, cut)
        if at == cut:
            return cut
        cut = at


def _across(data: bytes, cut: int) -> int:
    """Where a secret begins that lies across the cut; the cut where none does."""
    for url in _URL.finditer(data):
        if url.start() < cut < url.end():
            return url.start()
    for form in _forms:
        at = data.find(form, max(0, cut - len(form) + 1), cut + len(form) - 1)
        if 0 <= at < cut:
            return at
    return cut


def _begun(data: bytes, form: bytes) -> int:
    """Where the data's end may be the beginning of a form; its length where it is none."""
    at = data.find(form[:1], max(0, len(data) - len(form) + 1))
    while at >= 0:
        if form.startswith(data[at:]):
            return at
        at = data.find(form[:1], at + 1)
    return len(data)


def _written(value: str) -> set[bytes]:
    from urllib.parse import quote, quote_plus  # a job without secrets does without

    lines = value.strip().splitlines()
    wholes = {value, value.strip(), *(line for line in lines if len(lines) > 1 and len(line) >= _LINE)}
    forms = set(wholes)
    for whole in wholes:
        raw = whole.encode("utf-8", "surrogateescape")
        forms |= {quote(raw), quote(raw, safe=""), quote_plus(raw), _lower(quote(raw, safe=""))}
        forms |= {json.dumps(whole)[1:-1], json.dumps(whole, ensure_ascii=False)[1:-1], repr(whole)[1:-1]}
        forms |= {whole.replace("'", "'\\''")}
    return {_encoded(form) for form in forms if len(form) >= secret_rules.SHORTEST_SECRET}


def _lower(quoted: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found.group().lower(), quoted)


def _encoded(form: str) -> bytes:
    try:
        return form.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return form.encode("utf-8", "surrogatepass")
