"""Every shipped config that AutoModel trains, at full size on as many ranks as it is for: no rehearsal refuses one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from automodel_launch import api, backends
from automodel_launch.rehearsal import request
from automodel_launch.rehearsal.wanted import Wanted
from tests.conftest import ROOT
from tests.faults import launches
from tests.faults.rehearsed import Rehearsals

pytestmark = pytest.mark.slow
SECONDS = 600.0  # of one, on a busy machine
CONFIGS = sorted(
    (folder, path.stem) for folder in ("pretrain", "finetune") for path in (ROOT / "configs" / folder).glob("*.yaml")
)


@pytest.fixture(scope="module")
def rehearsals() -> Iterator[Rehearsals]:
    rehearsing = Rehearsals(SECONDS)
    yield rehearsing
    rehearsing.end()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    return launches.share(folder)[0]


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize(("recipe", "config"), CONFIGS)
def test_it_is_not_refused(
    recipe: str, config: str, rehearsals: Rehearsals, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"PRETRAIN_BLEND_PATH": f"{data}/tiny/megatron/blend.json", "FINETUNE_MODEL": "Qwen/Qwen3-0.6B"}
    environ |= {"FINETUNE_DATA": "some/chats", "NANOGPT_BIN_PATTERN": f"{data}/nanogpt/latest/train/*.bin"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    env_file = tmp_path / "env.toml"
    env_file.write_text(f"[site]\n{launches.BASE['site']}{launches.BARE}".replace("nproc_per_node = 2\n", "").replace(
        "DATA", str(data)).replace("HERE", str(tmp_path)))  # fmt: skip
    plan = api.plan(recipe, config=config, profile="site", env_file=str(env_file), offline=True)
    rehearsal = backends.of(plan.recipe).rehearsal(plan)
    assert rehearsal is not None and plan.world_size >= 8
    asked = request.of(plan, rehearsal, Wanted(int(SECONDS), asked=True), own=True, code=str(ROOT))
    del asked["schema"]
    found = rehearsals.asked(asked.pop("config"), asked.pop("world_size"), **asked)
    assert found["outcome"] in ("passed", "partial"), found["refusal"]
    assert {entry["reason"] for entry in found["partial"]} <= {"hub", "synthetic-data", "package", "gpu"}, found
