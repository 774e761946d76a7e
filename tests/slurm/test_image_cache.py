"""Images imported once on a real Slurm, by a stand-in for enroot; and jobs in containers of one for apptainer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import images
from tests.conftest import LIMIT_S, Checkout, Main
from tests.slurm import probe
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.e2e]

# Checks its arguments as enroot 3 has them, tells where it ran, and "imports" the file that the test has made.
ENROOT = """#!/bin/bash
echo "$SLURM_JOB_ID $*" >> {log}
[ "$#" = 4 ] && [ "$1 $2" = "import --output" ] || { echo "[ERROR] Invalid argument" >&2; exit 1; }
[[ "$3" == *.sqsh && ! -e "$3" && "$4" == docker://nvcr.io#nvidia/* ]] || { echo "[ERROR] $*" >&2; exit 1; }
case $4 in
  *:absent) echo "[ERROR] URL https://nvcr.io returned error code: 404 Not Found" >&2; exit 1 ;;
  *:broken) echo "no image" > "$3" ;;
  *) echo "[INFO] Fetching image manifest list" >&2; cp {image} "$3" ;;
esac
"""
# Checks its arguments as apptainer 1 has them, and runs the command on the node itself.
APPTAINER = """#!/bin/bash
printf '%s\\n' "$@" > {log}.$SLURMD_NODENAME
[ "$1 $2" = "exec --nv" ] || exit 90
shift 2
while [[ $1 == --* ]]; do
  case $1 in
    --writable-tmpfs | --no-home) shift ;;
    --bind) IFS=, read -ra binds <<< "$2"; shift 2 ;;
    --pwd) cd "$2" || exit 91; shift 2 ;;
    *) exit 92 ;;
  esac
done
for bind in "${binds[@]}"; do [ -e "${bind%%:*}" ] || exit 93; done
[ -e "$1" ] || exit 94
shift
exec "$@"
"""
NAME = "nvcr.io/nvidia/nemo-automodel:26.04"
FILE = "nvcr.io+nvidia+nemo-automodel+26.04.sqsh"


def _program(folder: Path, name: str, text: str, **values: Path) -> None:
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def site(tmp_path: Path, pyxis: Cluster) -> Checkout:
    """A checkout whose profile `c` has an image of a registry and a cache; enroot and apptainer on the PATH."""
    (tmp_path / "bin").mkdir()
    _program(tmp_path / "bin", "enroot", ENROOT, log=tmp_path / "enroot.log", image=images.squashfs(tmp_path))
    _program(tmp_path / "bin", "apptainer", APPTAINER, log=tmp_path / "apptainer.log")
    checkout = probe.site(tmp_path, pyxis)
    text = (checkout.root / "env.toml").read_text().replace('"none"', f'"{NAME}"')
    more = f'image_cache = "{tmp_path}/cache"\nmounts = {json.dumps(images.BORROWED)}\n'
    (checkout.root / "env.toml").write_text(text + more)
    checkout.environ["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
    return checkout


def _imports(tmp_path: Path) -> list[str]:
    return (tmp_path / "enroot.log").read_text().splitlines()


def test_an_image_is_imported_once_and_used(site: Checkout, main: Main, tmp_path: Path) -> None:
    file = tmp_path / "cache" / FILE
    before = main(site, "stub-one", "--run", "c")
    assert before.returncode == 3
    assert f"{file}" in before.stderr and "image c import" in before.stderr
    both = [site.start("image", "c", "import") for _ in range(2)]
    said = [process.communicate(timeout=LIMIT_S)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("is there already" in text for text in said) == [False, True]
    assert any("Fetching image manifest" in text for text in said)
    (call,) = _imports(tmp_path)
    job, *words = call.split()
    assert job.isdigit() and words[-1] == "docker://nvcr.io#nvidia/nemo-automodel:26.04"
    (listed,) = json.loads(main(site, "image", "c", "list", "--json").stdout)
    assert listed["file"] == str(file) and listed["bytes"] == file.stat().st_size and listed["whole"]
    done = main(site, "stub-one", "--run", "c")
    assert done.returncode == 0, done.stderr
    plan = json.loads(main(site, "stub-one", "--run", "c", "--dry-run", "--offline", "--json").stdout)
    assert plan["container_image"] == str(file)

    file.write_bytes(file.read_bytes()[:-1])  # cut short
    assert "BROKEN" in main(site, "image", "c", "list").stdout
    assert main(site, "image", "c", "import").returncode == 0
    assert len(_imports(tmp_path)) == 2
    assert main(site, "image", "c", "remove").returncode == 0
    assert json.loads(main(site, "image", "c", "list", "--json").stdout) == []
    assert main(site, "image", "c", "remove").returncode == 2


@pytest.mark.parametrize(("tag", "words"), [("absent", "no image of that name"), ("broken", "no squashfs file")])
def test_an_import_that_fails_leaves_nothing(site: Checkout, main: Main, tmp_path: Path, tag: str, words: str) -> None:
    done = main(site, "image", "c", "import", f"nvcr.io/nvidia/nemo-automodel:{tag}")
    assert done.returncode == 4
    assert words in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_image_refuses(site: Checkout, main: Main) -> None:
    file = main(site, "image", "c", "import", "/a.sqsh")
    assert file.returncode == 2 and "is a file already" in file.stderr
    with (site.root / "env.toml").open("a") as env:
        env.write('[here]\nexecutor = "local"\n')
    local = main(site, "image", "here", "list")
    assert local.returncode == 2 and "image_cache" in local.stderr


def test_apptainer_runs_the_agent(site: Checkout, main: Main, tmp_path: Path) -> None:
    (tmp_path / "some.sif").write_text("an image")
    (tmp_path / "data").mkdir()
    options = [
        f"container_runtime={tmp_path}/bin/apptainer",
        "container_mount_home=false",
        f"container_image={tmp_path}/some.sif",
    ]
    options += [f'mounts=["{tmp_path}/data:/data:ro"]']
    done = main(site, "stub-one", "--run", "c", "fail_rank=1", "code=7", *(f"run.env.{text}" for text in options))
    assert done.returncode == 7, done.stderr
    assert "about to fail (rank 1 on c2)" in done.stderr
    job = json.loads(main(site, "status", "last", "--json").stdout)
    for node in ("c1", "c2"):
        words = (tmp_path / f"apptainer.log.{node}").read_text().splitlines()
        binds = words[words.index("--bind") + 1].split(",")
        root, folder = str(Path(job["job_dir"]).parent), job["job_dir"]
        assert binds == [f"{tmp_path}/data:/data:ro", f"{root}:{root}", f"{folder}:/nemo_run"]
        assert words[:3] == ["exec", "--nv", "--no-home"]
        assert words[words.index("--pwd") + 1] == f"{folder}/code"
        assert words[-5:] == [f"{tmp_path}/some.sif", "sh", "recipes/node_agent.sh", "run", f"{folder}/agent.json"]
