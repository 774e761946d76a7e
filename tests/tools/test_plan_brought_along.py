"""The tool that plans files of other projects, on files of our own in their form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tools import plan_brought_along

PROFILES = """\
# Profiles

```toml
[base]
executor = "slurm"
account = "a"
[large]
extends = "base"
nodes = 2
gpus_per_node = 8
remote_job_dir = "/lustre/${oc.env:USER}/jobs"
[rented]
executor = "lepton"
node_group = "ours"
[wrong]
extends = "base"
remote_job_dir = "/lustre/me/jobs"
nodse = 2
```

```toml
[piece]
extends = "elsewhere"
```
"""
SECTIONS = """\
sections:
  wandb: {project: "${oc.env:PROJECT,mine}"}
  made:
    executor: slurm
    ntasks_per_node: 2
    exclusive: true
    remote_job_dir: /lustre/me/jobs
    startup_commands: ["echo 'a b'"]
    env_vars: {HF_TOKEN: "${oc.env:HF_TOKEN,''}"}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Work trees of both, in one."""
    path = tmp_path / "checkout"
    for name, text in {
        "docs/a.md": PROFILES,
        "src/nemotron/steps/env/env_toml/config/slurm.yaml": SECTIONS,
        "examples/llm_pretrain/good.yaml": (ROOT / "configs/pretrain/tiny.yaml").read_text(encoding="utf-8"),
        "examples/llm_pretrain/bad.yaml": "seed: 0100\n",
        "examples/other/none.yaml": "seed: 0100\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    (tmp_path / "work").mkdir()
    return path


def test_what_is_planned_and_what_is_refused_is_counted(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_brought_along.automodel(checkout, tmp_path / "work") == 1
    out = capsys.readouterr().out
    assert "1 of 2 examples of AutoModel are planned" in out
    assert "llm_pretrain/bad.yaml" in out and "0100" in out and "none.yaml" not in out
    assert plan_brought_along.nemotron(checkout, tmp_path / "work") == 1
    out = capsys.readouterr().out
    assert "0 of 1 profiles for other executors are planned" in out
    assert "3 of 4 profiles of Nemotron are planned" in out
    assert "docs/a.md #1 [wrong]" in out and "nodse" in out and "[piece]" not in out
