"""Kinds of values: YAML as AutoModel's loader reads it."""

from __future__ import annotations

from typing import Any

import pytest

from automodel_launch.backends.automodel.schema import kinds


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((1, "int"), (1, "float"), ("1e-4", "float"), ("10", "int"), ("none", "int|null"), (None, "null|str")),
        *(
            (True, "bool"),
            (1, "bool"),
            ("true", "bool"),
            ([1], "list"),
            ({"a": 1}, "map"),
            ("a", "'a'|'b'"),
            (False, "'a'|False"),
        ),
        *(
            ("${oc.env:X}", "int"),
            ({"_target_": "x"}, "int"),
            ("anything", ""),
            ("900,50,50", "str"),
            ("x" * 2000, "str"),
        ),
    ],
)
def test_fits(value: Any, kind: str) -> None:
    assert kinds.fits(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((True, "int"), (1.5, "int"), ("x", "int"), (None, "int"), (2, "bool"), (5, "str"), ("a", "list")),
        *(([], "map"), ("c", "'a'|'b'"), ({}, "list"), ("((", "int")),
    ],
)
def test_does_not_fit(value: Any, kind: str) -> None:
    assert not kinds.fits(value, kind)


def test_words_and_examples() -> None:
    assert kinds.words("float|int|null") == "a number or null"
    assert kinds.words("null|str") == "a string or null"
    assert kinds.example("a", 5.0, "int") == "a=5"
    assert kinds.example("a", "x", "int|null") == "a=NUMBER, or ~a to leave it out"
    assert kinds.example("a", "trith", "'te'|'triton'") == "a=triton"
