"""No launch that anybody can type ends in a traceback or takes more than seconds, whatever stands in its files."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz import made
from tests.fuzz.launching import Place, judged
from tests.fuzz.made import Made

MANY = int(os.environ.get("FUZZ_EXAMPLES", "1000"))  # of each kind in the slow test
KINDS = {"configs": made.configs(), "profiles": made.profiles(), "overrides": made.overrides(), "blocks": made.blocks()}
_SETTINGS = settings(
    deadline=None,  # launching.Slow looks at the time that a launch itself takes
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def _try(here: Place, made: Made) -> tuple[int, str]:
    config, env = here.write("case.yaml", made.config), here.write("env.toml", made.env)
    recipe = str(here.write("case.py", made.block)) if made.block else made.recipe
    options = ["-c", str(config), "--env", str(env), "--run", made.profile, *["--offline"] * made.offline]
    command = ["check", recipe, *made.look[1:]] if made.look[0] == "check" else [recipe, *made.look]
    return judged([*command, *options, *map(here.stage.text, made.overrides)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_of_each_kind(here: Place, kind: str) -> None:
    @settings(_SETTINGS, max_examples=40, derandomize=True, phases=[Phase.generate])
    @given(KINDS[kind])
    def some(made: Made) -> None:
        _try(here, made)

    some()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
def test_many_of_each_kind(here: Place, kind: str) -> None:
    @settings(_SETTINGS, max_examples=MANY)
    @given(KINDS[kind])
    def many(made: Made) -> None:
        _try(here, made)

    many()
