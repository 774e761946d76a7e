"""Twenty launches of great variety: what their plans hold, and the bytes of the scripts that a cluster gets.

`python -m tests.variety.test_variety` writes golden/ again, after a change that was meant; its diff is to be read.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import automodel_launch as al
from automodel_launch import workspace
from automodel_launch.plan.plan import Plan
from tests.conftest import make_checkout
from tests.variety.launches import ENVIRON, LAUNCHES, write_env

GOLDEN = Path(__file__).parent / "golden"
SLURM = [name for name in LAUNCHES if not name.startswith(("local", "docker"))]
SECRETS = [value for name, value in ENVIRON.items() if name in ("HF_TOKEN", "WANDB_API_KEY")]


@contextmanager
def _checkout(root: Path) -> Iterator[None]:
    """The launches' profiles in a copy of the checkout: no test writes into this one."""
    checkout = make_checkout(root / "checkout")
    write_env(checkout.root / "env.toml")
    former, workspace.PACKAGE = workspace.PACKAGE, checkout.root / "automodel_launch"
    try:
        yield
    finally:
        workspace.PACKAGE = former


@pytest.fixture(scope="module", autouse=True)
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with _checkout(tmp_path_factory.mktemp("variety")):
        yield


@functools.cache
def _plan(name: str) -> Plan:
    return _made(name)


def _made(name: str) -> Plan:
    recipe, *words = LAUNCHES[name]
    options = {"-c": "config", "--run": "profile", "--batch": "profile", "--name": "name"}
    given: dict[str, str] = {"mode": "batch" if "--batch" in words else "run"}
    overrides: list[str] = []
    while words:
        word = words.pop(0)
        if word in options:
            given[options[word]] = words.pop(0)
        else:
            overrides.append(word)
    environ = {"HOME": "/home/me", "PATH": "/usr/bin:/bin", **ENVIRON}
    return al.plan(recipe, overrides=overrides, offline=True, environ=environ, **given)  # type: ignore[arg-type]


def _written(plan: Plan) -> str:
    """What reaches a cluster as text, apart from the config."""
    return f"{plan.script}\n# {plan.submit}\n{plan.texts['agent.json']}"


@pytest.mark.parametrize("name", SLURM)
def test_a_cluster_gets_these_bytes(name: str) -> None:
    assert _written(_plan(name)) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_no_launch_is_left_out() -> None:
    assert len(LAUNCHES) == 20
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(SLURM)


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_plan_is_the_same_every_time_and_holds_no_secret(name: str) -> None:
    plan, again = _plan(name), _made(name)
    assert plan == again and hash(plan) == hash(again)
    text = json.dumps([plan.document(), plan.agent, plan.texts])
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("name", SLURM)
def test_what_decides_a_jobs_life_stands_in_the_script(name: str) -> None:
    plan = _plan(name)
    lines = plan.script.splitlines()
    chained = plan.agent["chain"] is not None
    assert [line for line in lines if "requeue" in line and line.startswith("#")] == [
        "#SBATCH --no-requeue" if chained else "#SBATCH --requeue"
    ]
    assert f"# Run with: sbatch --parsable {plan.job_dir}/script" in lines
    assert "requeue" not in plan.submit


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _checkout(Path(folder)):
        for launch in SLURM:
            (GOLDEN / f"{launch}.txt").write_text(_written(_plan(launch)), encoding="utf-8")
    sys.exit(0)
