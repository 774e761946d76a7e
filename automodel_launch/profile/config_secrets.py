"""Which keys of a training config hold a secret that is written down.

A config's keys are others' words: `answer_key: solution_text` names a column, `pad_token: <|end|>` an entry of a
vocabulary, and a server that asks for no key gets `api_key: dummy`. So what a name says is weighed with the value.
"""

from __future__ import annotations

import re

from automodel_launch.profile.secret_names import is_secret
from automodel_launch.secret_rules import secret_values

_PASSWORD = re.compile(r"passw(or)?d$|passphrase$|secret$|credentials?$", re.IGNORECASE)
_API_KEY = re.compile(
    r"(api|access|private|secret|signing|encryption)[_-]?keys?$|(auth|access|hub|hf|bearer|api)[_-]?token$",
    re.IGNORECASE,
)
_PLACES = re.compile(r"[~.]{0,2}/|\$|[a-z][a-z0-9+.]*://|[<\[{*`]")  # a path, a reference, a URL, a vocabulary's entry
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")  # the name of one, not its value
_STANDS_IN = re.compile(r"dummy|placeholder|example|change.?me|your|empty|none|not.?needed|unused|xxx", re.IGNORECASE)
_ISSUED = re.compile(r"(hf_|sk-|gh[pousr]_|github_pat_|glpat-|nvapi-|xox[a-z]-|AKIA|eyJ)[\w.-]{12}")  # by their makers
_DRAWN, _SHORT = 16, 24  # characters of a part that looks drawn by chance; of a value that stands in for one at most


def is_written(key: str, value: object) -> bool:
    """Whether the value at a dotted key is a secret's, and neither a reference to one nor something else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    text, name = str(value).strip(), _name(key)
    if not is_secret(name) or not secret_values({name: text}):
        return False
    if re.search(r"\s", text) or _PLACES.match(text) or _VARIABLE.fullmatch(text):
        return False
    if len(text) <= _SHORT and _STANDS_IN.search(text):
        return False
    if _PASSWORD.search(name) or _ISSUED.match(text) or any(map(looks_drawn, re.split(r"[^A-Za-z0-9]+", text))):
        return True
    return bool(_API_KEY.search(name)) and any(character.isdigit() for character in text)


def variable(key: str) -> str:
    """A variable's name for the secret at a key; one that says that it is a secret's."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", _name(key)).upper()
    return name if "_" in name else f"MY_{name}"


def _name(key: str) -> str:
    """The key's own name; with that of its section where it says nothing alone: `api.key`."""
    section, _, own = re.sub(r"\.\d+(?=\.|$)", "", key).rpartition(".")  # entries of lists have the list's name
    return f"{section.rpartition('.')[2]}_{own}" if own.lower() in ("key", "keys") and section else own


def looks_drawn(part: str) -> bool:
    """Whether such a word looks drawn by chance, as tokens are."""
    digits, letters = (sum(map(kind, part)) for kind in (str.isdigit, str.isalpha))
    return len(part) >= _DRAWN and digits >= 3 and letters >= 3
