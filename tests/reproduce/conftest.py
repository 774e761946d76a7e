"""A checkout in which two small jobs have run, with code of a person's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ENV_TOML, Checkout, make_checkout

OWN = "rate = 1\n"


@pytest.fixture(scope="package")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Jobs first.1 and second.1: another value, another line of code, another profile's time-out."""
    checkout = make_checkout(tmp_path_factory.mktemp("reproduce") / "checkout")
    (checkout.root / "mine").mkdir()
    own = checkout.root / "mine" / "model.py"
    own.write_text(OWN)
    (checkout.root / "env.toml").write_text(f'{ENV_TOML}code = ["mine"]\nsecrets = ["MY_TOKEN"]\n')
    checkout.environ["MY_TOKEN"] = "hush-hush-1"
    _ran(checkout, "first", "value=plain")
    own.write_text("rate = 2\n")
    _ran(checkout, "second", "value=${run.dir}/x", "run.env.stop_grace=77")
    own.write_text(OWN)
    return checkout


def _ran(checkout: Checkout, name: str, *overrides: str) -> None:
    done = checkout.run("stub-one", "--name", name, *overrides)
    assert done.returncode == 0, done.stderr + done.stdout
    assert Path(checkout.root, "runs", f"{name}.1", "environment.json").is_file()
