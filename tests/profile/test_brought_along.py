"""An env.toml of Nemotron's works unchanged: other executors beside the wanted one, its keys, and its references."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.errors import ProfileError, UsageError
from automodel_launch.executors.slurm import variables
from automodel_launch.plan.plan import Plan
from automodel_launch.profile.profiles import load
from tests.workbench import SHELL, SITE, Bench, make_bench, plan_on_slurm, refused

CLOUDS = """
[artifacts]
wandb = true
[artifacts.manifest]
root = "/lustre/team/artifacts"
[site]
executor = "slurm"
account = "physics"
nodes = 2
ntasks_per_node = 4
remote_job_dir = "/lustre/me/jobs"
[rented]
executor = "lepton"
nemo_run_dir = "/mnt/me/jobs"
node_group = "ours"
pip_extras = ["rich"]
mounts = [ { path = "/export", mount_path = "/mnt", from = "node-nfs:x" } ]
[rented-large]
extends = "rented"
nodes = 16
[managed]
executor = "dgxcloud"
project_name = "ours"
app_secret = "not-told"
pvcs = [ { claimName = "c", path = "/pvc", readOnly = false } ]
[moved]
extends = "rented"
executor = "slurm"
mounts = []
node_group = 5
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def _notes(plan: Plan) -> list[str]:
    return [f.message for f in checks.run(plan, offline=True) if f.code == "no-effect"]


def test_tables_for_other_executors_refuse_no_other_profile(bench: Bench) -> None:
    bench.env(CLOUDS)
    plan = bench.plan(profile="site", offline=True)
    assert plan.executor == "slurm"
    assert "--account=physics" in plan.script
    assert bench.plan(profile="local").executor == "local"


@pytest.mark.parametrize("name", ["rented", "rented-large", "managed"])
def test_a_profile_for_another_executor_is_refused_with_those_that_can_be_used(bench: Bench, name: str) -> None:
    bench.env(CLOUDS)
    executor = "dgxcloud" if name == "managed" else "lepton"
    text = refused(
        ProfileError, lambda: bench.plan(profile=name), f"[{name}]", executor, "local, slurm, docker", "site"
    )
    assert "rented-large" not in text.replace(f"[{name}]", "")
    assert "not-told" not in text


def test_a_wrong_key_in_a_parent_of_the_wanted_profile_is_refused(bench: Bench) -> None:
    bench.env('[base]\nnodse = 2\n[site]\nextends = "base"\n' + SITE + "[other]\nextends = 'local'\nnodse = 1\n")
    refused(ProfileError, lambda: bench.plan(profile="site"), "[base]", "nodse", "'nodes'")
    assert bench.plan(profile="local").nodes == 1


def test_a_misspelt_section_is_told_whatever_profile_is_wanted(bench: Bench) -> None:
    bench.env('[wandbb]\nproject = "x"\n')
    refused(ProfileError, lambda: bench.plan(profile="local"), "[wandbb]", "'wandb'")


def test_the_whole_file_is_read_without_the_profiles_of_other_executors(tmp_path: Path) -> None:
    path = tmp_path / "env.toml"
    path.write_text(CLOUDS.partition("[moved]")[0], encoding="utf-8")
    env_file = load(path)
    assert env_file.names == ["local", "managed", "rented", "rented-large", "site"]
    assert env_file.usable == ["local", "site"]
    path.write_text('[a]\nexecutor = "slurm"\nnodse = 1\n[b]\nexecutor = "lepton"\nnodse = 1\n', encoding="utf-8")
    refused(ProfileError, lambda: load(path), "[a]", "nodse")


def test_a_misspelt_executor_is_not_taken_for_another_one(tmp_path: Path) -> None:
    path = tmp_path / "env.toml"
    path.write_text('[big]\nexecutor = "slrum"\n', encoding="utf-8")
    refused(ProfileError, lambda: load(path), "[big]", "'slrum'", "'slurm'")
    refused(ProfileError, lambda: load(path, "big"), "[big]", "'slrum'", "'slurm'")


def test_a_profile_that_replaces_its_parents_executor_is_checked_key_by_key(bench: Bench) -> None:
    bench.env(CLOUDS)
    refused(ProfileError, lambda: bench.plan(profile="moved"), "[rented]", "mounts")


def test_nemotrons_job_roots_are_taken_where_there_is_no_other(bench: Bench) -> None:
    site, ssh = SITE.replace("remote_job_dir", "nemo_run_dir"), 'tunnel = "ssh"\nhost = "login"\n'
    plan = plan_on_slurm(bench, site)
    assert (plan.job_root, plan.profile_sources["remote_job_dir"]) == ("/lustre/me/jobs", "env.toml [p] nemo_run_dir")
    assert _notes(plan) == []
    assert plan_on_slurm(bench, site.replace("nemo_run_dir", "workspace") + ssh).job_root == "/lustre/me/jobs/nemo-run"
    both = plan_on_slurm(bench, SITE + ssh + 'workspace = "/lustre/w"\nnemo_run_dir = "/lustre/n"\n')
    assert both.job_root == "/lustre/me/jobs"
    assert len(_notes(both)) == 1 and "workspace" in _notes(both)[0] and "nemo_run_dir" in _notes(both)[0]


def test_over_ssh_without_any_job_root_it_lies_in_the_home_directory_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the cluster has to be asked for, and which is small: a warning says so."""
    keys = 'executor = "slurm"\nnproc_per_node = 2\ntunnel = "ssh"\nhost = "login"\n'
    refused(UsageError, lambda: plan_on_slurm(bench, keys), "~/nemo-run", "--offline")
    monkeypatch.setattr(variables, "_known", {("login", "HOME"): "/home/ada"})
    plan = bench.plan(profile="p", environ=SHELL)
    assert plan.job_root == "/home/ada/nemo-run"
    (told,) = [f for f in checks.run(plan, offline=True) if f.code == "home-job-root"]
    assert told.level == "warning" and "/home/ada/nemo-run" in told.message
    given = plan_on_slurm(bench, f'{SITE}tunnel = "ssh"\nhost = "login"\n')
    assert [f for f in checks.run(given, offline=True) if f.code == "home-job-root"] == []


def test_what_has_no_meaning_here_is_said_once_in_one_line(bench: Bench) -> None:
    keys = 'packager = "hybrid"\nbuild_cache_dir = "/lustre/c"\nbuild_include_gpus = false\npip_extras = ["rich"]\n'
    plan = plan_on_slurm(bench, keys, more='[artifacts]\nbackend = "wandb"\nwandb = true\n')
    (note,) = _notes(plan)
    for word in (
        "packager = 'hybrid' (env.toml [p])",
        "build_cache_dir (env.toml [p])",
        "pip_extras",
        "[artifacts] wandb",
    ):
        assert word in note
    assert "[artifacts] backend" in note
    assert _notes(plan_on_slurm(bench, "")) == []


def test_a_command_that_does_not_run_is_told(bench: Bench) -> None:
    found = [
        f
        for f in checks.run(plan_on_slurm(bench, 'run_command = "python x.py"'), offline=True)
        if f.code == "no-effect"
    ]
    assert [(f.level, "run_command (env.toml [p])" in f.message) for f in found] == [("warning", True)]


def test_a_lustre_mount_is_one_of_mounts(bench: Bench) -> None:
    image = 'container_image = "nvcr.io#nvidia/x:1"\n'
    mounts = plan_on_slurm(bench, image + 'mounts = ["/data:/data"]\nlustre_mount = "/lustre:/lustre"\n').mounts
    assert [mount.text for mount in mounts][:2] == ["/data:/data", "/lustre:/lustre"]
    once = plan_on_slurm(bench, image + 'mounts = ["/lustre:/lustre"]\nlustre_mount = "/lustre:/lustre"\n')
    assert [mount.target for mount in once.mounts].count("/lustre") == 1
    off = plan_on_slurm(bench, image + 'lustre_mount = ""\n')
    assert "/lustre" not in [mount.target for mount in off.mounts]
    assert _notes(once) == _notes(off) == []


def test_a_pattern_of_code_is_taken(bench: Bench) -> None:
    (bench.root / "mine").mkdir()
    (bench.root / "mine" / "model.py").write_text("x = 1\n")
    for packager in ('packager = "pattern"\n', ""):
        plan = plan_on_slurm(bench, packager + 'packager_include_pattern = "mine/**/*.py"\n')
        assert "code/mine/model.py" in [file.path for file in plan.files]
        assert _notes(plan) == []
    for text in ("src/**/*.py", "theirs.py"):
        (note,) = _notes(plan_on_slurm(bench, f'packager = "pattern"\npackager_include_pattern = "{text}"\n'))
        assert "packager_include_pattern" in note
    (note,) = _notes(plan_on_slurm(bench, 'packager = "none"\npackager_include_pattern = "mine/**/*.py"\n'))
    assert "packager_include_pattern" in note


def test_a_packager_that_is_made_in_code_reads_code_as_on_disk(bench: Bench) -> None:
    (bench.root / "mine.py").write_text("x = 1\n")
    plan = plan_on_slurm(bench, 'packager = "hybrid"\ncode = ["mine.py"]\n')
    assert "code/mine.py" in [file.path for file in plan.files]


def test_relative_mounts_are_below_the_checkout(bench: Bench) -> None:
    image = 'container_image = "x:1"\n'
    docker = (
        f'executor = "docker"\nremote_job_dir = "{bench.root}/jobs"\n{image}mounts = ["./data:/workspace/data:ro"]\n'
    )
    assert f"{bench.root}/data:/workspace/data:ro" in [mount.text for mount in plan_on_slurm(bench, docker).mounts]
    near = plan_on_slurm(bench, image + 'mounts = ["../out:/out"]\n')
    assert f"{bench.root.parent}/out:/out" in [mount.text for mount in near.mounts]
    far = SITE + image + 'tunnel = "ssh"\nhost = "login"\nmounts = ["./data:/data"]\n'
    refused(
        ProfileError,
        lambda: plan_on_slurm(bench, far),
        "mounts (env.toml [p])",
        "'./data:/data'",
        "relative",
        "cluster",
    )


def test_a_repository_that_would_be_cloned_and_mounted_is_refused(bench: Bench) -> None:
    keys = 'mounts = ["${auto_mount:git+https://example.org/x.git@main,/opt/x}"]\n'
    refused(ProfileError, lambda: plan_on_slurm(bench, keys), "mounts", "auto_mount", "clone")


def test_a_profile_without_gpus_is_one_process_a_node(bench: Bench) -> None:
    keys = 'executor = "slurm"\nremote_job_dir = "/lustre/me/jobs"\ngpus_per_node = 0\n'
    assert plan_on_slurm(bench, keys).processes_per_node == 1


def test_the_root_of_nemotrons_manifests_is_that_of_artifacts(bench: Bench) -> None:
    bench.env(CLOUDS)
    plan = bench.planned("steps: 1\nvalue: ${run.artifacts.root}\n")
    assert plan.config["value"] == "/lustre/team/artifacts"
