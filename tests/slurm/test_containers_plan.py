"""What a Slurm plan's script holds for a container, and what no script may hold. No cluster is asked."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.errors import ProfileError
from automodel_launch.plan.plan import Plan
from tests.conftest import STUB
from tests.workbench import Bench, make_bench, refused

PROFILE = """
[c]
executor = "slurm"
partition = "batch"
time = "10"
nodes = 2
gpus_per_node = 8
remote_job_dir = "/shared/jobs"
tunnel = "ssh"
host = "login.invalid"
"""

DIGEST = f"sha256:{16 * '0ab1'}"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # NeMo-Run reads it to make a script; pytest refuses that
    return make_bench(tmp_path)


def _plan(bench: Bench, more: str = "", *texts: str) -> Plan:
    bench.env(PROFILE + more)
    return bench.plan(*texts, profile="c")


def _srun(plan: Plan) -> list[str]:
    """The words of the line that starts the agents."""
    (line,) = [line for line in plan.script.splitlines() if line.startswith("srun ") and "node_agent." in line]
    return shlex.split(line)


def _option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def _recipe_with_image(bench: Bench) -> None:
    text = STUB.replace("LAUNCH", "torchrun").replace("# docs =", '# image = "recipe:1"\n# docs =')
    (bench.workspace.recipes / "stub.py").write_text(text)


# containers


def test_without_an_image_there_is_no_container(bench: Bench) -> None:
    plan = _plan(bench)
    assert "container" not in plan.script
    assert plan.document()["container_image"] is None
    assert _option(_srun(plan), "--chdir") == f"{plan.job_dir}/code"


def test_image_mounts_and_working_directory(bench: Bench) -> None:
    plan = _plan(bench, 'container_image = "nvcr.io#nvidia/nemo:1"\nmounts = ["/lustre/data:/data:ro", "/scratch:/s"]')
    words = _srun(plan)
    assert _option(words, "--container-image") == "nvcr.io#nvidia/nemo:1"
    assert _option(words, "--container-workdir") == "/nemo_run/code"
    job = f"{plan.job_root}/{plan.job_id}"
    mounts = ["/lustre/data:/data:ro", "/scratch:/s", "/shared/jobs:/shared/jobs", f"{job}:/nemo_run"]
    assert (_option(words, "--container-mounts") or "").split(",") == mounts
    assert words[-4:] == ["sh", "recipes/node_agent.sh", "run", f"{job}/agent.json"]
    assert plan.document()["container_image"] == "nvcr.io#nvidia/nemo:1"


def test_absolute_paths_hold_on_both_sides(bench: Bench) -> None:
    plan = _plan(bench, 'container_image = "i:1"')
    paths = [plan.agent[key] for key in ("job_dir", "run_dir", "code_dir")] + [plan.agent["args"][1]]
    assert all(path.startswith("/shared/jobs/") for path in paths)
    assert "/nemo_run" not in f"{plan.agent}{plan.texts}"


def test_the_recipes_image_is_the_default_and_none_opts_out(bench: Bench) -> None:
    _recipe_with_image(bench)
    assert _option(_srun(_plan(bench)), "--container-image") == "recipe:1"
    assert _option(_srun(_plan(bench, 'container_image = "p:1"')), "--container-image") == "p:1"
    bare = _plan(bench, 'container_image = "none"')
    assert "container" not in bare.script
    assert bare.document()["container_image"] is None
    assert _option(_srun(_plan(bench, 'container_image = "none"', "run.env.container_image=o:1")), "--container-image")


def test_a_job_root_that_is_mounted_already_is_not_mounted_twice(bench: Bench) -> None:
    plan = _plan(bench, 'container_image = "i"\nmounts = ["/shared/jobs:/shared/jobs"]')
    assert (_option(_srun(plan), "--container-mounts") or "").count("/shared/jobs:/shared/jobs") == 1
    above = _plan(bench, 'container_image = "i"\nmounts = ["/shared:/shared:ro"]')
    assert "/shared:/shared:ro,/shared/jobs:/shared/jobs," in above.script


@pytest.mark.parametrize(
    ("mounts", "words"),
    [
        ('["/a:/x", "/b:/x"]', ["'/a:/x'", "'/b:/x'", "one target"]),
        ('["/a:/x", "/a:/x/"]', ["one target"]),
        ('["/a:/nemo_run"]', ["'/a:/nemo_run'", "/nemo_run"]),
        ('["/a:/nemo_run/code"]', ["/nemo_run"]),
        ('["/a:/"]', ["hides the image"]),
        ('["/a:/shared"]', ["hides the job root", "/shared/jobs"]),
        ('["/a:/shared/jobs/"]', ["hides the job root"]),
        ('["/a:/shared/jobs/x"]', ["hides the job root"]),
        ('["/shared/jobs:/shared/jobs:ro"]', ["writes below"]),
        ('["/b:/x/y", "/a:/x"]', ["'/a:/x'", "hides '/b:/x/y'"]),
        ('["a:/b"]', ["'a:/b'"]),
        ('["a"]', ["'a'", "not understood"]),
        ('["~me/a:/b"]', ["'~me/a:/b'"]),
        ('["$(id):/b"]', ["'$(id):/b'"]),
        ('["$HOME;id:/b"]', ["'$HOME;id:/b'"]),
        ('["/a$HOME:/b"]', ["'/a$HOME:/b'"]),
        ('["/a:b:/c:ro"]', ["colon"]),
        ('["/a:/b:ro:x"]', ["'/a:/b:ro:x'"]),
        ('["/a:/b,/c:/d"]', ["'/a:/b,/c:/d'"]),
        ('["/a/../b:/b"]', ["'/a/../b:/b'"]),
        ('["/a:/b\\n#SBATCH --x"]', ["not understood"]),
        ('["/a b:/c"]', ["'/a b:/c'"]),
        ('["/a:/b:; id"]', ["'/a:/b:; id'"]),
        ('["/a:/b:readonly"]', ["readonly", '"/a:/b:ro"']),
        ('["/a:/b:RO"]', ["RO", '"/a:/b:ro"']),
        ('["/a:/b:r"]', ['"/a:/b:ro"']),
        ('["/a:/b:z"]', ["'z'", '"/a:/b"']),
        ('["/a:/b:ro+cached"]', ["cached"]),
        ('["/a:/b:ro,rprivate"]', ["ro,rprivate"]),
    ],
)
def test_mounts_that_are_refused(bench: Bench, mounts: str, words: list[str]) -> None:
    more = f'container_image = "i"\nmounts = {mounts}'
    refused(ProfileError, lambda: _plan(bench, more), "mounts (env.toml [c])", *words)


def test_a_source_alone_and_variables_of_the_cluster(bench: Bench) -> None:
    more = 'container_image = "i"\nmounts = ["/lustre", "~/cache:/c:ro", "$SCRATCH/x", "${WORK}:/w"]'
    plan = _plan(bench, more)
    (line,) = [line for line in plan.script.splitlines() if "node_agent.sh run" in line]
    shown = subprocess.run(
        ["bash", "-c", f"srun() {{ printf '%s\\n' \"$@\"; }}\n{line}"],
        env={"HOME": "/home/me", "SCRATCH": "/scratch/a b", "WORK": "/work", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    mounts = shown[shown.index("--container-mounts") + 1].split(",")
    assert mounts[:4] == ["/lustre:/lustre", "/home/me/cache:/c:ro", "/scratch/a b/x:/scratch/a b/x", "/work:/w"]


def test_a_variable_that_the_cluster_does_not_have_ends_the_script(bench: Bench) -> None:
    plan = _plan(bench, 'container_image = "i"\nmounts = ["$NO_SUCH_NAME:/w"]')
    (line,) = [line for line in plan.script.splitlines() if "node_agent.sh run" in line]
    done = subprocess.run(["bash", "-c", f"srun() {{ echo started; }}\n{line}"], capture_output=True, text=True)
    assert done.returncode != 0 and "started" not in done.stdout
    assert "NO_SUCH_NAME: is not set" in done.stderr


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ("", []),
        ("container_writable = true", ["--container-writable"]),
        ("container_writable = false", ["--container-readonly"]),
        ("container_mount_home = false", ["--no-container-mount-home"]),
        ("container_mount_home = true", ["--container-mount-home"]),
        ('container_env = ["PATH", "LD_LIBRARY_PATH"]', ["--container-env=PATH,LD_LIBRARY_PATH"]),
    ],
)
def test_further_options_of_pyxis(bench: Bench, more: str, flags: list[str]) -> None:
    plan = _plan(bench, f'container_image = "i"\n{more}')
    own = {"--container-image", "--container-mounts", "--container-workdir"}
    assert [word for word in _srun(plan) if "container-" in word and word not in own] == flags
    assert "container" not in _plan(bench, f'container_image = "none"\n{more}').script


def test_the_working_directory_inside_is_the_agents_matter(bench: Bench) -> None:
    more = 'container_workdir = "/opt/a b"'
    assert _plan(bench, f'container_image = "i"\n{more}').agent["workdir"] == "/opt/a b"
    assert _plan(bench, more).agent["workdir"] is None
    more = 'container_image = "i"\ncontainer_workdir = "opt"'
    refused(ProfileError, lambda: _plan(bench, more), "container_workdir", "absolute")


@pytest.mark.parametrize("name", ["A B", "a-b", "1A", "A,B"])
def test_names_in_container_env_that_are_refused(bench: Bench, name: str) -> None:
    more = f'container_image = "i"\ncontainer_env = ["{name}"]'
    refused(ProfileError, lambda: _plan(bench, more), "container_env", repr(name))


def test_mounts_without_a_container_are_told(bench: Bench) -> None:
    plan = _plan(bench, 'mounts = ["/a:/b"]')
    found = [finding.message for finding in checks.run(plan, offline=True) if finding.code == "no-effect"]
    assert found == ["mounts (env.toml [c]) has no effect without a container_image."]


@pytest.mark.parametrize("flags", ["ro", "rw", "ro+rprivate", "x-create=dir", "rbind+nosuid+nodev", "size=1G+rw"])
def test_flags_that_a_mount_may_have(bench: Bench, flags: str) -> None:
    more = f'container_image = "i"\nmounts = ["/a:/b:{flags}"]'
    assert f"/a:/b:{flags}" in _plan(bench, more).script


@pytest.mark.parametrize(
    ("image", "right"),
    [
        ("https://nvcr.io/nvidia/nemo:1", 'container_image = "nvcr.io/nvidia/nemo:1"'),
        ("http://nvcr.io/nvidia/nemo:1", 'container_image = "nvcr.io/nvidia/nemo:1"'),
        ("docker://docker://a", 'container_image = "a"'),
        ("oras://reg.io/a:1", "docker://NAME"),
        ("nvcr.io/NVIDIA/NeMo:26.04", 'container_image = "nvcr.io/nvidia/nemo:26.04"'),
        ("nvcr.io#nvidia/NeMo:26.04", 'container_image = "nvcr.io/nvidia/nemo:26.04"'),
        ("Ubuntu", 'container_image = "ubuntu"'),
        ("images/nemo.sqsh", "/shared/images/nemo.sqsh"),
        ("nemo.sqsh", "/shared/images/nemo.sqsh"),
        ("my.SIF", "/shared/images/my.SIF"),
        ("nvcr.io/nvidia/nemo:", "registry/name:tag"),
        ("nvcr.io//nemo:1", "registry/name:tag"),
        ("nemo:26.04:2", "registry/name:tag"),
    ],
)
def test_an_image_in_another_form_is_refused_with_the_right_one(bench: Bench, image: str, right: str) -> None:
    refused(
        ProfileError, lambda: _plan(bench, f'container_image = "{image}"'), "container_image", "env.toml [c]", right
    )


@pytest.mark.parametrize(
    "image", ["i\\n#SBATCH --x", " i", "i ", "a\\tb", "it's", "a b", "./a.sqsh", "a;id", "a#b#c", "$(id)"]
)
def test_images_that_are_refused(bench: Bench, image: str) -> None:
    refused(ProfileError, lambda: _plan(bench, f'container_image = "{image}"'), "container_image")


@pytest.mark.parametrize(
    ("written", "passed"),
    [
        ("/lustre/my image;id.sqsh", "/lustre/my image;id.sqsh"),
        ("docker:///lustre/a.sqsh", "/lustre/a.sqsh"),
        ("ubuntu:22.04", "ubuntu:22.04"),
        ("nvidia/cuda", "nvidia/cuda"),
        ("docker://nvidia/cuda", "nvidia/cuda"),
        ("nvcr.io/nvidia/nemo-automodel:26.04", "nvcr.io#nvidia/nemo-automodel:26.04"),
        ("docker://nvcr.io/nvidia/nemo-automodel:26.04", "nvcr.io#nvidia/nemo-automodel:26.04"),
        ("docker://nvcr.io#nvidia/nemo-automodel:26.04", "nvcr.io#nvidia/nemo-automodel:26.04"),
        ("nvcr.io#nvidia/nemo-automodel:26.04", "nvcr.io#nvidia/nemo-automodel:26.04"),
        (f"reg:5000/a@{DIGEST}", f"reg:5000#a@{DIGEST}"),
        ("localhost/a", "localhost#a"),
        ("reg.io/a/b_c.d-e/f:V1.0-RC_2", "reg.io#a/b_c.d-e/f:V1.0-RC_2"),
        (f"a:1@{DIGEST}", f"a:1@{DIGEST}"),
    ],
)
def test_images_are_passed_on_as_enroot_wants_them(bench: Bench, written: str, passed: str) -> None:
    plan = _plan(bench, f'container_image = "{written}"')
    assert _option(_srun(plan), "--container-image") == passed
    assert plan.document()["container_image"] == passed


def test_an_images_path_may_begin_with_a_variable_of_the_cluster(bench: Bench) -> None:
    plan = _plan(bench, 'container_image = "$SCRATCH/my image.sqsh"')
    assert '--container-image "${SCRATCH:?' in plan.script
    assert "}\"'/my image.sqsh' " in plan.script


# what may stand in a script


HOSTILE = [
    "a\\nb",
    "a\\n#SBATCH --uid=0",
    " a",
    "a ",
    "a'b",
    'a\\"b',
    "a\\\\b",
    "a\\tb",
    "/nemo_run",
    "\\u0085",
    "`id`",
]
OPTIONS = ["constraint", "account", "partition", "run_partition", "qos", "time", "nodelist", "gres", "network"]
OPTIONS += ["dependency", "exclusive", "signal", "mem", "reservation", "exclude", "additional_parameters.mail-user"]


@pytest.mark.parametrize(
    ("key", "value"), [*((key, "a\\nb") for key in OPTIONS), *((OPTIONS[0], text) for text in HOSTILE)]
)
def test_values_of_options_that_are_refused(bench: Bench, key: str, value: str) -> None:
    bench.env(PROFILE.replace('partition = "batch"\n', "").replace('time = "10"\n', "") + f'{key} = "{value}"')
    refused(ProfileError, lambda: bench.plan(profile="c"), key, "env.toml [c]", "#SBATCH")


@pytest.mark.parametrize("value", ["a b", "a;id", "$HOME", "a$(id)", "a#b", "a&b|c", "é", "%j", "a=b,c"])
def test_values_of_options_that_are_quoted(bench: Bench, value: str) -> None:
    plan = _plan(bench, f'constraint = "{value}"')
    (line,) = [line for line in plan.script.splitlines() if "--constraint" in line]
    assert line.removeprefix("#SBATCH --constraint=") == shlex.quote(value)


@pytest.mark.parametrize("name", ["Mail", "mail user", "a=b", "a\\nb", "-x", "x;id", "1a", "mail_user"])
def test_names_of_options_that_are_refused(bench: Bench, name: str) -> None:
    refused(ProfileError, lambda: _plan(bench, f'additional_parameters = {{"{name}" = "x"}}'), "additional_parameters")


@pytest.mark.parametrize("name", ["output", "chdir", "job-name", "export", "array", "wrap", "ntasks"])
def test_options_that_the_launcher_needs_itself(bench: Bench, name: str) -> None:
    more = f'additional_parameters = {{"{name}" = "x"}}'
    refused(ProfileError, lambda: _plan(bench, more), name, "sets this option itself")


@pytest.mark.parametrize("name", ["time", "gpus-per-node", "account", "comment"])
def test_options_that_have_a_key(bench: Bench, name: str) -> None:
    more = f'additional_parameters = {{"{name}" = "1"}}'
    refused(ProfileError, lambda: _plan(bench, more), f"{name.replace('-', '_')} = ...")


def test_other_options_and_what_is_not_wanted(bench: Bench) -> None:
    plan = _plan(
        bench, 'exclusive = false\nadditional_parameters = {"mail-type" = "END", hold = true, overcommit = false}'
    )
    lines = plan.script.splitlines()
    assert {"#SBATCH --mail-type=END", "#SBATCH --hold"} <= set(lines)
    assert "overcommit" not in plan.script
    assert "exclusive" not in plan.script


@pytest.mark.parametrize("word", ["--x=a\\nb", "--x\\n#SBATCH --y", " ", "--x=/nemo_run"])
def test_srun_args_that_are_refused(bench: Bench, word: str) -> None:
    refused(ProfileError, lambda: _plan(bench, f'srun_args = ["{word}"]'), "srun_args")


@pytest.mark.parametrize("word", ["--x=a b", "--x='; id", "--x=$HOME", '--x=\\"y\\"', "&"])
def test_srun_args_are_one_word_each(bench: Bench, word: str) -> None:
    plan = _plan(bench, f'srun_args = ["{word}", "--last"]')
    assert {word.replace('\\"', '"'), "--last"} <= set(_srun(plan))


@pytest.mark.parametrize(
    "root", ["/a b", "/a;id", "/a$HOME", "/a\\nb", "relative", "/nemo_run/x", "/lustre/nemo_runs", "~ada/jobs"]
)
def test_job_roots_that_are_refused(bench: Bench, root: str) -> None:
    bench.env(PROFILE.replace("/shared/jobs", root))
    refused(ProfileError, lambda: bench.plan(profile="c"), "remote_job_dir")


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a b", "a\\nb"])
def test_hosts_that_ssh_would_misread(bench: Bench, host: str) -> None:
    bench.env(PROFILE.replace("login.invalid", host))
    refused(ProfileError, lambda: bench.plan(profile="c"), "host")


NASTY = "a b'c\"d$HOME;e\nf /nemo_run `id` \\ #SBATCH --x=1"


def test_nothing_that_is_trained_reaches_the_script(bench: Bench) -> None:
    """Values, variables, data_dir, Python, code: the script's options and commands stay the same, line by line."""
    plain = _plan(bench)
    (bench.root / "odd 'x;").mkdir()
    (bench.root / "odd 'x;" / "$a.py").write_text("pass")
    text = NASTY.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    more = "\n".join(f'{key} = "{text}"' for key in ("python", "setup_lines", "env_vars.V"))
    more += f'\ndata_dir = "/{text}"'
    more += f'\nstartup_commands = ["{text}"]\ncode = ["odd \'x;"]\n'
    quoted = text.replace("\n", "\\n")
    odd = _plan(bench, more, f'value="{quoted}"')
    assert odd.config["value"] == NASTY
    assert odd.agent["env"]["V"] == NASTY
    assert odd.agent["startup_commands"] == [NASTY]
    as_plain = odd.script.replace(odd.run_name, plain.run_name)
    port = re.compile(r"rdzv.*")
    assert port.sub("", as_plain) == port.sub("", plain.script)


# apptainer


def test_apptainer_stands_before_the_agent(bench: Bench) -> None:
    more = 'container_image = "nvcr.io/nvidia/nemo:1"\ncontainer_runtime = "apptainer"\ncontainer_writable = true\n'
    plan = _plan(bench, more + 'mounts = ["/data:/d:ro"]')
    words = _srun(plan)
    start = words.index("apptainer")
    job = f"{plan.job_root}/{plan.job_id}"
    binds = f"/data:/d:ro,/shared/jobs:/shared/jobs,{job}:/nemo_run"
    assert words[start:] == [
        *("apptainer", "exec", "--nv", "--writable-tmpfs", "--bind", binds, "--pwd", f"{job}/code"),
        *("docker://nvcr.io/nvidia/nemo:1", "sh", "recipes/node_agent.sh", "run", f"{job}/agent.json"),
    ]
    assert "--container-" not in plan.script
    assert plan.document()["container_image"] == "docker://nvcr.io/nvidia/nemo:1"
    assert f"{job}:/nemo_run" in plan.document()["mounts"]


@pytest.mark.parametrize("runtime", ["podman", "bin/apptainer", "/opt/a b/apptainer", "/opt/pyxis", "apptainer; id"])
def test_runtimes_that_are_refused(bench: Bench, runtime: str) -> None:
    more = f'container_image = "i"\ncontainer_runtime = "{runtime}"'
    refused(ProfileError, lambda: _plan(bench, more), "container_runtime", "env.toml [c]")


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("nvcr.io/nvidia/nemo:1", "nvcr.io+nvidia+nemo+1.sqsh"),
        ("nvcr.io#nvidia/nemo:1", "nvcr.io+nvidia+nemo+1.sqsh"),
        (f"reg:5000/a@{DIGEST}", f"reg+5000+a+{DIGEST.replace(':', '+')}.sqsh"),
        ("ubuntu", "ubuntu+latest.sqsh"),
    ],
)
def test_with_a_cache_the_job_runs_the_imported_file(bench: Bench, image: str, file: str) -> None:
    plan = _plan(bench, f'container_image = "{image}"\nimage_cache = "/shared/images/"')
    assert _option(_srun(plan), "--container-image") == f"/shared/images/{file}"
    own = _plan(bench, 'container_image = "/shared/own.sqsh"\nimage_cache = "/shared/images"')
    assert _option(_srun(own), "--container-image") == "/shared/own.sqsh"
    relative = f'container_image = "{image}"\nimage_cache = "images"'
    refused(ProfileError, lambda: _plan(bench, relative), "image_cache", "absolute")
