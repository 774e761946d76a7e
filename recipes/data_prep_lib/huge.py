"""One document of many megabytes: held as UTF-8, read and encoded in parts, where that changes no id.

A Python string with one emoji takes four bytes for each character, an engine's working memory several times the text.
So a document beyond LEAST bytes stays what it is in the file, and is cut where every pre-tokenizer of `_PATTERNS` ends
a piece, whatever stands before and behind: between a lower-case ASCII letter and a blank or line feed that another such
letter follows. Merges never cross pieces, so the ids of the parts are those of the whole. Of the other tokenizers
(SentencePiece's, whose text is one piece) this is not known, and documents are strings as small ones are.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

LEAST = 16 << 20  # bytes
_PART = 1 << 19  # bytes of a part, at least
_CUT = re.compile(rb"[a-z](?=[ \n][a-z])")
_ESCAPE = 12  # bytes of the longest escape, a pair of surrogates

_ENGLISH = "'s|'t|'re|'ve|'m|'ll|'d"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Of Llama 3 and of Qwen 2 and 3; of GPT-4o (o200k). ByteLevel's own, GPT-2's, is not written down in a file.
_PATTERNS = frozenset(
    (
        rf"(?i:{_ENGLISH})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}",
        rf"(?i:{_ENGLISH})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+(?i:{_ENGLISH})?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        rf"(?i:{_ENGLISH})?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)


@dataclass(frozen=True)
class Huge:
    """A document as valid UTF-8."""

    data: bytes

    def parts(self) -> Iterator[str]:
        """The text in parts of about half a megabyte; larger ones where there is no place to cut."""
        at = 0
        while at < len(self.data):
            cut = _CUT.search(self.data, at + _PART)
            end = cut.end() if cut else len(self.data)
            yield self.data[at:end].decode("utf-8")
            at = end

    def beginning(self, characters: int) -> str:
        """At most so many characters."""
        return self.data[: 4 * characters].decode("utf-8", "ignore")[:characters]


@lru_cache(maxsize=4)
def is_cut(tokenizer_path: str) -> bool:
    """Whether the ids of the parts are those of the whole, with this tokenizer.json."""
    try:
        value = json.loads(Path(tokenizer_path).read_bytes())
        model, before = value["model"], value["pre_tokenizer"]
        plain = model["type"] == "BPE" and not model.get("dropout")
        plain = plain and (value.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
        return bool(plain and _is_known(before) and all(map(_stays_on_one_side, value.get("added_tokens") or [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_known(before: dict[str, Any]) -> bool:
    if before["type"] == "ByteLevel":
        return not before["add_prefix_space"] and before.get("use_regex", True) is True
    if before["type"] != "Sequence" or len(before["pretokenizers"]) != 2:
        return False
    split, bytes_ = before["pretokenizers"]
    known = split["type"] == "Split" and split["pattern"].get("Regex") in _PATTERNS
    known = known and split["behavior"] == "Isolated" and not split["invert"]
    return bool(known and bytes_["type"] == "ByteLevel" and not bytes_["add_prefix_space"] and not bytes_["use_regex"])


def _stays_on_one_side(token: dict[str, Any]) -> bool:
    """It neither spans a cut, nor takes the blank behind it, nor looks at the letter before it."""
    content = token["content"]
    spans = re.search(r"[a-z][ \n]", content) or (token.get("rstrip") and re.search(r"[a-z]$", content))
    return not spans and not (token.get("single_word") and content[:1].isspace())


def of_bytes(data: bytes) -> Huge:
    """Raises UnicodeDecodeError, as `data.decode()` does, where that is no UTF-8."""
    at = 0
    while at < len(data):
        end = min(len(data), at + _PART)
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        try:
            data[at:end].decode("utf-8")
        except UnicodeDecodeError as e:
            raise UnicodeDecodeError(e.encoding, b"", at + e.start, at + e.end, e.reason) from None
        at = end
    return Huge(data)


def of_line(line: bytes, loads: Callable[[bytes], Any]) -> tuple[Any, dict[str, Huge]] | None:
    """A line of JSON -> (its value with a short text in the place of each huge one, those by that text).

    None where it has no huge string, or is anything out of the ordinary: it is for the parser then.
    """
    name, pieces, found, at = secrets.token_hex(16), list[bytes](), dict[str, Huge](), 0
    try:
        while (start := line.find(b'"', at)) >= 0:
            end = _end_of_string(line, start + 1)
            pieces.append(line[at:start])
            if end - start > LEAST // 2:
                key = f"{name}-{len(found)}"
                found[key] = Huge(_decoded(line, start + 1, end, loads))
                pieces.append(f'"{key}"'.encode())
            else:
                pieces.append(line[start : end + 1])
            at = end + 1
        return (loads(b"".join([*pieces, line[at:]])), found) if found else None
    except (ValueError, RecursionError):
        return None


def _end_of_string(line: bytes, at: int) -> int:
    """Where its closing quote is.

    Raises:
        ValueError: there is none.
    """
    while True:
        end = line.index(b'"', at)
        back = end
        while line[back - 1] == 0x5C:
            back -= 1
        if (end - back) % 2 == 0:
            return end
        at = end + 1


def _decoded(line: bytes, at: int, end: int, loads: Callable[[bytes], Any]) -> bytes:
    """A string's content as UTF-8, unescaped part by part.

    Raises:
        ValueError: it is no JSON, or has no place to part it.
    """
    out = bytearray()
    while at < end:
        to = min(end, at + _PART)
        while to < end and (line[to] & 0xC0 == 0x80 or b"\\" in line[to - _ESCAPE : to]):
            to += 1
            if to > at + 2 * _PART:
                raise ValueError("escapes without an end")
        out += loads(b'"%b"' % line[at:to]).encode("utf-8")
        at = to
    return bytes(out)
