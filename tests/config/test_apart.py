"""What OmegaConf would not change is kept from it, and nothing is resolved otherwise for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import omegaconf
import pytest

from automodel_launch.config import interpolation, simple
from automodel_launch.config.envscope import EnvScope
from automodel_launch.config.merge import MergedConfig
from automodel_launch.errors import ConfigError

SECTIONS: dict[str, Any] = {
    "model": {"config": {"hidden_size": 64, "layers": [1, {"a": 2}]}, "name": "x"},
    "optimizer": {"lr": 0.1, "betas": [0.9, 0.95]},
    "run": {"dir": "/runs/x"},
}


def _resolved(data: dict[str, Any]) -> Any:
    try:
        return interpolation.interpolate(MergedConfig("t", Path("t.yaml"), data), data, EnvScope({"A": "1"}))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    "more",
    [
        {"checkpoint": {"path": "${run.dir}/a", "keep": 2, "deep": {"plain": [1, 2], "lr": "${optimizer.lr}"}}},
        {"whole": "${model}", "one": "${model.config.layers.1.a}", "bracket": "${model['config'][layers]}"},
        {"a": {"x": 1, "y": "${.x}", "z": {"w": "${..x}", "v": 5}}, "list": ["${optimizer.betas.0}", {"b": 1}]},
        {"which": "optimizer", "lr": "${${which}.lr}"},
        {"lr": "${oc.select:optimizer.lr,3}", "none": "${oc.select:nowhere,3}", "env": "${oc.env:A}", "bare": "${A,2}"},
        {"a": {"b": {"c": 1}, "here": "${.}"}},
        {"keys": "${oc.dict.keys:optimizer}"},
        {"x": "${nowhere.at.all}"},
        {"x": "${model.config.nothing}"},
        {"x": "${unclosed", "y": 1},
        {"x": {"must": "???", "a": "${run.dir}"}},
        {"x": r"\${run.dir} ${run.dir}", "y": {"z": r"\${run.dir}", "w": 1}},
    ],
)
def test_it_is_as_if_all_went_through_omegaconf(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**SECTIONS, **more}
    found = _resolved(data)
    monkeypatch.setattr(interpolation, "_apart", lambda data: ({}, dict(data)))
    monkeypatch.setattr(simple, "replaced", lambda data, _: data)
    assert repr(found) == repr(_resolved(data))  # the same order of keys, too


def test_what_has_no_reference_and_stands_in_none_is_kept_from_omegaconf(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    create = omegaconf.OmegaConf.create

    def _create(data: Any) -> Any:
        given.append(data)
        return create(data)

    monkeypatch.setattr(omegaconf.OmegaConf, "create", _create)
    data = {**SECTIONS, "checkpoint": {"path": "${run[dir]}/a", "deep": {"keep": 2}}}
    found = _resolved(data)
    assert given == [{"run": {"dir": "/runs/x"}, "checkpoint": {"path": "${run[dir]}/a"}}]
    assert found == {**data, "checkpoint": {"path": "/runs/x/a", "deep": {"keep": 2}}}
    assert found["model"]["config"] is not SECTIONS["model"]["config"]
