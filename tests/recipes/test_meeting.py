"""The rendezvous port is another process's: another one is taken, and where that may not be, it is named."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import contract
from tests.conftest import LIMIT_S
from tests.ports import free_port
from tests.recipes.test_node_agent import MakeJob, make_job  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import meeting
from node_agent_lib.spec import Rendezvous, Spec


@pytest.fixture(params=["127.0.0.1", "", "::"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port at which somebody listens."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as other:
        other.bind((request.param, 0))
        other.listen()
        yield other.getsockname()[1]


def _order(folder: Path, port: int | None, nnodes: int = 2, **more: bool) -> Path:
    values = {"nnodes": nnodes, "rendezvous": {"id": "a", "port": port, **more}}
    (folder / contract.AGENT).write_text(json.dumps(values))
    return folder


def test_a_port_that_is_taken_is_seen(taken: int) -> None:
    assert not meeting.is_free(taken)
    assert meeting.is_free(free_port())


def test_the_next_free_port_is_told_to_all_nodes(
    tmp_path: Path, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = meeting.exports(str(_order(tmp_path, taken)))
    name, _, other = line.removeprefix("export ").partition("=")
    assert int(other) > taken
    assert meeting.is_free(int(other))
    assert f"port {taken}" in capsys.readouterr().err
    for order, port in ((Rendezvous("a", taken), int(other)), (Rendezvous("a", taken, fixed=True), taken)):
        spec = Spec(**{**dict.fromkeys(Spec.__dataclass_fields__), "nnodes": 2, "rendezvous": order})  # type: ignore[arg-type]
        assert meeting.of(spec, {name: other}).rendezvous.port == port
        assert meeting.of(spec, {}).rendezvous.port == taken


def test_nothing_is_told_where_nothing_has_to_change(tmp_path: Path, taken: int) -> None:
    """The port is free, a person has given it, one node needs none, or the order cannot be read."""
    assert meeting.exports(str(_order(tmp_path, free_port()))) == []
    assert meeting.exports(str(_order(tmp_path, taken, fixed=True))) == []
    assert meeting.exports(str(_order(tmp_path, taken, nnodes=1))) == []
    assert meeting.exports(str(_order(tmp_path, None))) == []
    assert meeting.exports(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("nnodes", [1, 2])
def test_a_head_node_whose_port_is_taken_says_so_at_once(
    make_job: MakeJob,  # noqa: F811
    taken: int,
    nnodes: int,
) -> None:
    """torchrun would wait for whoever has it."""
    order = {"id": "two", "port": taken, "fixed": True}
    job = make_job("shows.py", "seen", launch="torchrun", nnodes=nnodes, rendezvous=order)
    agent = job.agent(node=0)
    assert agent.wait(LIMIT_S) == 1
    assert f"the rendezvous port {taken} of " in job.node()["failure"]["error"]
    assert "rdzv_port" in job.node()["failure"]["error"]
