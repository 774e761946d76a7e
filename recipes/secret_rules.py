"""What is secret, by the names of variables, and which values are kept out of what is written; for both worlds, once.

It travels with the job; the launcher imports the same file as automodel_launch.secret_rules (a
symbolic link). Only the standard library, and Python 3.8, as contract.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

_WORDS = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_ENDINGS = "PROD DEV TEST STAGING RO RW B64 BASE64 VALUE OLD NEW DEFAULT PRIMARY SECONDARY"
_SWITCHES = "DISABLE ENABLE USE SKIP ALLOW REQUIRE IGNORE IMPLICIT"
# `TOKEN_FILE`, `PASSWORD_POLICY`: a last word which says that it is about a secret, and is none.
_ABOUT = (
    "ID IDS IDX INDEX PATH PATHS FILE FILES FILENAME DIR FOLDER NAME NAMES LEN LENGTH COUNT SIZE TYPE TTL AGE EXPIRY"
    " EXPIRES EXPIRATION LIMIT POLICY MODE ENABLED DISABLED REQUIRED CMD COMMAND HELPER SOCK SOCKET PROVIDER STORE"
    " BACKEND ENDPOINT HOST PORT USER USERNAME REGION VERSION ALGORITHM ALG FORMAT PREFIX SUFFIX HEADER RATE BUDGET"
    " DROP DROPOUT EMBEDDING DIM WEIGHT LOSS CLASS MODULE PLUGIN TIMEOUT RETRIES INTERVAL SECONDS THROUGH LOCATION"
    " CACHE URL URI ARN PROMPT HINT RULES CHECK SCOPE SCOPES AUDIENCE ISSUER STRATEGY"
)
_SECRET_WORD = re.compile(
    r"SECRETS?|CREDENTIALS?|CREDS?|JWT|BEARER|\w*(PASSWORD|PASSWD|PASSPHRASE)|(SSH|DB|PG|MYSQL|USER|SMTP|LDAP|FTP)PASS"
    r"|\w*(API|ACCESS|AUTH|SSH|PRIV|PRIVATE|SECRET)KEY|\w*(AUTH|ACCESS)TOKEN"
)
_SECRET_PHRASE = re.compile(
    r"(^|_)((API|ACCESS|PRIVATE|SECRET)_KEYS?)(_|$)|(WEBHOOK_UR[LI]|CONN(ECTION)?_STR(ING)?|CONNSTR|SAS_URL)$"
)
_TOKENS = (  # of a vocabulary: EOS_TOKEN, MAX_TOKEN
    "MAX MIN NUM EOS BOS EOD EOT PAD PADDING UNK CLS SEP MASK SPECIAL STOP START END IMAGE VIDEO AUDIO PER NEXT TOTAL"
    " DROP DUMMY BEGIN FIRST LAST THINK VOCAB"
)
_KEYS = (  # of a data set, a table, a cache, or the open half of a pair: TEXT_KEY, SORT_KEY, PUBLIC_KEY
    "PUBLIC PUB HOST SORT CACHE PARTITION FOREIGN PRIMARY UNIQUE TEXT JSON DATA DATASET COLUMN LOSS METRIC GROUP INDEX"
    " TITLE IMAGE LABEL INPUT OUTPUT FEATURE OBJECT ROW DICT CONFIG STATE FIELD PROMPT TARGET MAP LOOKUP SHARD"
    " DOCUMENT ID NAME HOT MODEL BATCH SAMPLE CONTENT MESSAGE MESSAGES"
)
_PASSES = "SINGLE ONE TWO MULTI FIRST SECOND LAST FORWARD BACKWARD NUM RENDER LOW HIGH BAND"
_LASTS = {  # a secret's last word -> the words before it with which it is none
    **{"TOKEN": _TOKENS, "KEY": _KEYS, "PASS": _PASSES, "PWD": "OLD INIT ORIG START SINGULARITY APPTAINER"},
    **{"PAT": "FILE GLOB NAME REGEX PATH URL DATE MATCH", "AUTH": "TRACKING HAS"},  # MLFLOW_TRACKING_AUTH: a plugin
    **dict.fromkeys(("DSN", "COOKIE", "OTP", "WEBHOOK"), ""),
}


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value must not be shown: HF_TOKEN, PGPASSWORD; not MAX_TOKENS."""
    words = [word.upper() for word in _WORDS.split(name) if word]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _ENDINGS.split()):
        words.pop()
    if not words or not set(words).isdisjoint(_SWITCHES.split()) or "NO" in words[-3:-1]:
        return False
    joined, is_about = "_".join(words), words[-1] in _ABOUT.split()
    if _SECRET_PHRASE.search(joined) and (not is_about or joined.endswith(("_URL", "_URI", "ACCESS_KEY_ID"))):
        return True
    if is_about or joined == "GOOGLE_APPLICATION_CREDENTIALS":  # which is the path of a file
        return False
    if any(map(_SECRET_WORD.fullmatch, words)) or ("TOKEN" in words and set(words).isdisjoint(_TOKENS.split())):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    return last in _LASTS and (before != "" or last == "DSN") and before not in _LASTS[last].split()


SHORTEST_SECRET = 6  # shorter values stand in ordinary words
_PLAIN = "enabled disabled default required optional anonymous offline online"


def secret_values(environ: Mapping[str, str], named: Iterable[str] = ()) -> dict[str, str]:
    """The values that are kept out of what is written, by their names: of variables that say so, and of `named` ones.

    Left out is what is no secret whatever its variable is called: a short word, a small number, the path of a file.
    """
    chosen = frozenset(named)
    found = ((name, value) for name, value in environ.items() if name in chosen or is_secret_name(name))
    return {name: value for name, value in found if _worth_hiding(value)}


def _worth_hiding(value: str) -> bool:
    text = value.strip()
    if len(text) < SHORTEST_SECRET or text.lower() in _PLAIN.split() or (text.isdigit() and len(text) < 10):
        return False
    is_path = text.startswith(("/", "~/")) and "\0" not in text
    return not (is_path and os.path.exists(os.path.expanduser(text)))  # noqa: PTH110, PTH111 (Path's raise on odd ones)


URL_PASSWORD = re.compile(r"(://[^\s/?#:@'\"]*):([^\s/?#@'\"]+)@(?=[\w\[])")
"""A password inside a URL, scheme://user:PASSWORD@host: group 2."""
