"""--rehearse, --rehearse=memory and --no-rehearse on a command line."""

from __future__ import annotations

import argparse

import pytest

from automodel_launch.commands.check import COMMAND
from automodel_launch.errors import UsageError


def _parsed(*words: str) -> argparse.Namespace:
    return COMMAND.parse(["pretrain", *words])


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ((), None),
        (("--rehearse",), "on"),
        (("--rehearse=memory",), "memory"),
        (("--rehearse", "optimizer.lr=3"), "on"),
        (("--rehearse", "--optimizer.lr", "3"), "on"),
    ],
)
def test_an_override_behind_it_is_none_of_its_values(words: tuple[str, ...], value: str | None) -> None:
    args = _parsed(*words)
    assert (args.rehearse, args.no_rehearse) == (value, False)
    assert len(args.overrides) == (1 if len(words) > 1 else 0)


@pytest.mark.parametrize("words", [("--rehearse=memroy",), ("--rehearse", "--no-rehearse"), ("--rehearse=",)])
def test_what_is_not_understood(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        _parsed(*words)
    assert "rehearse" in refused.value.message
