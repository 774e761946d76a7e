"""A chain and its data, on a real Slurm: `latest` moves, or the data change in place, between two attempts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from automodel_launch import contract
from tests.conftest import Checkout, TinyCorpus, make_checkout
from tests.launch.test_train_tiny import PREPARE
from tests.slurm import learner
from tests.slurm.cluster import Cluster
from tests.slurm.test_chain import Run, jobs_left

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

TARGET = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: TinyCorpus) -> Path:
    """A folder `data` with the corpus `tiny`, prepared."""
    checkout = make_checkout(tmp_path_factory.mktemp("chain-data") / "checkout")
    tiny_corpus(checkout.root / "data" / "tiny")
    _prepare(checkout)
    return checkout.root / "data"


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster, prepared: Path) -> Checkout:
    """The learner's, with data of data-prep that its config names by blend.json, which leads to `latest`."""
    site = learner.site(tmp_path, cluster)
    (site.root / "data").symlink_to(prepared)
    corpus = prepared / "tiny"
    data = {"_target_": TARGET, "paths": f"{corpus}/megatron/blend.json", "splits_to_build": "train"}
    config = {**learner.CONFIG, "dataset": data}
    (site.root / "configs" / "learner" / "default.yaml").write_text(json.dumps(config))
    return site


def _prepare(site: Checkout, *options: str) -> Path:
    """Run data-prep; the directory that `latest` leads to then."""
    done = site.run(*PREPARE, *options)
    assert done.returncode == 0, done.stderr
    return (site.root / "data" / "tiny" / "megatron" / "latest").resolve()


def _begun(site: Checkout) -> Run:
    """It is held behind step 7."""
    run = Run(site, "hold=7")
    run.reach(0, 7)
    return run


def test_a_chain_goes_on_with_its_own_data_whatever_latest_is(site: Checkout, cluster: Cluster) -> None:
    before = (site.root / "data" / "tiny" / "megatron" / "latest").resolve()
    run = _begun(site)
    recorded = (run.run_dir / contract.DATA).read_bytes()
    assert _prepare(site, "add_bos=true") != before
    run.kill_rank(1)
    run.go()
    run.end()
    run.check(most_lost=5)
    assert run.states() == ["FAILED", "COMPLETED"]
    config = yaml.safe_load((run.dir / contract.CONFIG).read_text())
    assert config["dataset"]["paths"] == f"{before}/blend.json"
    assert (run.run_dir / contract.DATA).read_bytes() == recorded


def test_a_chain_whose_data_have_changed_ends_and_says_so(site: Checkout, cluster: Cluster) -> None:
    run = _begun(site)
    (index,) = (site.root / "data" / "tiny" / "megatron" / "latest").resolve().glob("train/*.idx")
    tokens = index.with_suffix(".bin").read_bytes()
    index.with_suffix(".bin").write_bytes(tokens[:-2])
    run.kill_rank(1)
    run.go()
    said = run.end(contract.DATA_CHANGED)
    assert run.states() == ["FAILED", "FAILED"]
    assert "the data are not those that the run began with" in said and index.with_suffix("").name in said
    assert "other data" in run.history("ended")[-1]["why"]
    assert len(run.history("begun")) == 2 and jobs_left(cluster, run) == []
    refused = site.run("resume", run.id)
    assert (refused.returncode, "began with other data" in refused.stderr) == (3, True), refused.stderr
    index.with_suffix(".bin").write_bytes(tokens)  # the other test's, too
