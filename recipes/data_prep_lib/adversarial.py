"""Strings on which tokenizers are known to differ: what a corpus holds somewhere and a sample of it may not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FIXED = (
    "",
    " ",
    "\n",
    "\t",
    "   \n\n\t  \r\n  x  ",
    "a\rb\r\nc\n\n\n\nd",
    "trailing space ",
    " leading space",
    "tabs\t\tand\x0b\x0cother \x1c\x1f\x85 spaces\xa0here\u2003\u2028\u2029\u3000\u200bend",
    "nul\x00and\x01control\x7f",
    "\ufeffbyte order mark",
    "I'll we're THEY'VE it's It'S I'M can't 'tis 'S \u2019s l\u2019eau",
    "0 00 123 1234 12345678901234567890 1,234,567.89 1e-10 0x7f \u0663\u0664\u0665 \u00bd \u2167 \uff11\uff12\uff13",
    "snake_case CamelCase mixed3Numbers4 ALLCAPS iPhone McDonald",
    "https://example.org/a?b=c&d=%20e#f user@example.org C:\\dir\\file.txt",
    "def f(x):\n    return {'a': [1, 2, *x]}  # ok\n\n\n\tif x != y -> z || !q:\n",
    '<div class="x">&amp;&nbsp;</div> <!-- c --> $\\frac{a}{b}$ `code` **bold**',
    "caf\u00e9 cafe\u0301 \ufb01ne \u212b \u00c5 A\u030a \u01c5 \u0130stanbul \u0131 stra\u00dfe STRASSE \u1e9e",
    "a\u0300\u0301\u0302\u0303\u0304\u0305 Z\u0351\u036bA\u0360L\u035bG\u0321O",
    "\u6771\u4eac\u90fd\u306b\u884c\u304f\u3002\u4f60\u597d\uff0c\u4e16\u754c\uff01",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0928\u092e\u0938\u094d\u0924\u0947 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd",
    "\u0645\u0631\u062d\u0628\u0627\u064b \u05e9\u05dc\u05d5\u05dd \u202eright to left\u202c",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u10e5\u10d0\u10e0\u10d7",
    "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd\U0001f1e9\U0001f1ea\u2764\ufe0f\u0023\ufe0f\u20e3",
    "\U0001d400\U0001d7d8 \U00020000 \U000e0041 \ue000 \uffff \U0010ffff \ufffd \u2581under\u2581score",
    "\u2581 \u2581\u2581 <0x0A> <0xFF> <unk> <s> </s> [CLS] [MASK] <pad> <|im_start|> <|endoftext",
    "\u00d0\u00bf\u00d1\u20ac\u00d0\u00b8 \u0120hello \u010a \u00e2\u20ac\u2122",
    "a" * 5000,
    "ab" * 2500,
    " " * 3000,
    "\n" * 1000,
    "!" * 1000,
    "9" * 1000,
    "\u00e9" * 700,
    "\U0001f642" * 300,
    "a " * 1000,
    "word\u00a0" * 200,
    "supercalifragilisticexpialidocious" * 40,
)
_PIECES = (
    *("the", "of", "and", "in", "Hello", "WORLD", "don't", "'ll", "'s", "12", "345", "6789", "x", "y_z", "Aa"),
    *(" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\xa0", "\u3000", "\u200d", "\x00"),
    *".,;:!?-()[]{}<>/|@#$%^&*+=~`'\"\\",
    *("...", "--", "->", "==", "*/"),
    *"\u00e9\u0301\u00df\u0130\u03c9\u0416\u05d0\u0627\u0e01\u0928\u6771\ud55c\u3042\ufb01\u00bd\u0663",
    *"\U0001f642\U0001f3fd\ufe0f\u2581\U00020000",
)
_RANDOM, _PIECES_EACH = 300, 40
_FROM_IDS, _IDS_EACH = 150, 40
_MAX_ADDED = 64


def strings(tokenizer: Tokenizer) -> list[str]:
    """The same list for one tokenizer on every machine: fixed, with its added tokens, mixed at random, from its ids."""
    rng = random.Random(20240520)
    added = [token.content for _, token in sorted(tokenizer.get_added_tokens_decoder().items())][:_MAX_ADDED]
    around = [form for token in added for form in _around(token)]
    pieces = [*_PIECES, *added]
    mixed = ["".join(rng.choices(pieces, k=rng.randint(1, _PIECES_EACH))) for _ in range(_RANDOM)]
    ids = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
    # all corners of the vocabulary, also those that no text of the corpus' language reaches
    drawn = [rng.choices(ids, k=_IDS_EACH) for _ in range(_FROM_IDS)]
    return [*_FIXED, *around, *mixed, *tokenizer.decode_batch(drawn, skip_special_tokens=False)]


def _around(token: str) -> tuple[str, ...]:
    """An added token where its lstrip, rstrip, single_word and normalized flags, or a prefix of it, matter."""
    return (
        token,
        f"{token}{token}",
        f"x{token}y",
        f"  {token}  z",
        f"\n{token}\n",
        token[:-1],
        token[1:],
        token.upper(),
        f"a.{token}1 {token}.",
    )
