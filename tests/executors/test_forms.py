"""Values of a profile in a form that sbatch, srun, ssh or Docker does not take are found here, and valid ones pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from automodel_launch import checks
from automodel_launch.checks import Finding
from automodel_launch.errors import ProfileError
from automodel_launch.executors.forms import options
from automodel_launch.profile import sbatch_options
from automodel_launch.profile.schema import KEYS
from tests.executors.forms_tables import DOUBTFUL, INVALID, VALID
from tests.workbench import Bench, refused

CODES = ("bad-form", "placeholder", "short-time", "unknown-option")
SLURM = """
[c]
executor = "slurm"
gpus_per_node = 8
container_image = "none"
remote_job_dir = "/shared/jobs"
"""


def _found(bench: Bench, lines: str, *overrides: str, profile: str = SLURM) -> list[Finding]:
    bench.env(f"{profile}{lines}\n")
    plan = bench.plan(*overrides, profile="c", environ={}, offline=True)
    return [finding for finding in checks.run(plan, offline=True) if finding.code in CODES]


def _line(option: str, value: str) -> str:
    key = option.replace("-", "_")
    return f'{key} = "{value}"' if key in KEYS else f'additional_parameters = {{"{option}" = "{value}"}}'


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in VALID.items() for value in values])
def test_a_valid_value_is_no_fault(bench: Bench, option: str, value: str) -> None:
    assert [finding for finding in _found(bench, _line(option, value)) if finding.level != "note"] == []


@pytest.mark.parametrize(("option", "value", "right"), INVALID)
def test_a_form_that_sbatch_refuses_is_found_with_the_right_one(
    bench: Bench, option: str, value: str, right: str
) -> None:
    found = _found(bench, _line(option, value))
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", "error")]
    assert f"{value!r} (env.toml [c])" in found[0].message and option in found[0].message
    assert right in (found[0].fix or "")


@pytest.mark.parametrize(("option", "value", "right"), DOUBTFUL)
def test_a_form_that_means_something_else_is_a_warning(bench: Bench, option: str, value: str, right: str) -> None:
    found = _found(bench, _line(option, value))
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", "warning")]
    assert right in (found[0].fix or "")


@pytest.mark.parametrize(
    ("value", "length"), [("4:00", "4 minutes"), ("30", "30 minutes"), ("4:30", "4 minutes 30 seconds")]
)
def test_a_time_without_hours_is_said_in_words(bench: Bench, value: str, length: str) -> None:
    found = _found(bench, f'time = "{value}"')
    assert [(finding.code, finding.level) for finding in found] == [("short-time", "note")]
    assert length in found[0].message and ":00:00" in (found[0].fix or "")


def test_what_is_given_with_the_launch_is_looked_at_too(bench: Bench) -> None:
    found = _found(bench, 'time = "04:00:00"', "run.env.time=4h")
    assert [finding.code for finding in found] == ["bad-form"] and "override run.env" in found[0].message
    assert _found(bench, 'time = "4h"', "run.env.time=04:00:00") == []


def test_a_key_that_the_executor_does_not_use_is_not_looked_at(bench: Bench) -> None:
    local = '\n[c]\nexecutor = "local"\nnproc_per_node = 1\n'
    assert _found(bench, 'time = "4h"\npartition = "<partition>"', profile=local) == []


# options of sbatch


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ('hold = "true"', "= true"),
        ("contiguous = 1", "= true"),
        ("mail-type = true", '"mail-type" = ...'),
        ("licenses = true", '"licenses" = ...'),
        ('mem-per-gpu = "80G", mem-per-cpu = "4G"', "mem-per-cpu"),
    ],
)
def test_an_option_with_a_value_that_it_cannot_have(bench: Bench, written: str, right: str) -> None:
    found = _found(bench, f"additional_parameters = {{{written}}}")
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", "error")]
    assert right in (found[0].fix or "")


@pytest.mark.parametrize(
    "written", ["hold = true", "hold = false", "contiguous = true", "nice = true", "no-requeue = true", "nice = 5"]
)
def test_options_without_a_value(bench: Bench, written: str) -> None:
    assert _found(bench, f"additional_parameters = {{{written}}}") == []


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("heterogeneous", "error", "NeMo-Run"),
        ("mail-tpye", "error", "--mail-type"),
        ("mem-per-gpus", "error", "--mem-per-gpu"),
        ("licences", "error", "--licenses"),
        ("site-feature", "warning", "sbatch --help"),
        ("xyzzy", "warning", "plug-in"),
    ],
)
def test_an_unknown_option_is_found_offline(bench: Bench, name: str, level: str, words: str) -> None:
    found = _found(bench, f'additional_parameters = {{{name} = "x"}}')
    assert [(finding.code, finding.level) for finding in found] == [("unknown-option", level)]
    assert words in f"{found[0].message} {found[0].fix}"


def test_an_option_that_the_clusters_sbatch_has_is_known() -> None:
    there = frozenset({"hold", "site-feature"})
    assert list(options.unknown({"site-feature": "x", "oom-kill-step": 1, "mail-ty": "END"}, there)) == []
    levels = [fault.level for fault in options.unknown({"site-featrue": "x", "xyzzy": "x", "gone": False}, there)]
    assert levels == ["error", "error"]


@pytest.mark.parametrize("name", ["mail_type", "licenses", "mem-per-gpu", "hold", "begin"])
def test_an_option_of_sbatch_as_a_key_is_told_where_it_goes(bench: Bench, name: str) -> None:
    option = name.replace("_", "-")
    refused(
        ProfileError, lambda: _found(bench, f'{name} = "x"'), "unknown key", f'additional_parameters = {{"{option}"'
    )


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ('"mem-per-g" = "80Gi"', '"80G"'),
        ('"mail-ty" = "ALWAYS"', "ALL"),
        ('"contig" = 1', "= true"),
        ('"mem-per-g" = "80G", "mem-per-c" = "4G"', "mem-per-cpu"),
    ],
)
def test_the_value_of_a_shortened_option_has_the_same_form(bench: Bench, written: str, right: str) -> None:
    (found,) = _found(bench, f"additional_parameters = {{{written}}}")
    assert (found.code, found.level) == ("bad-form", "error") and right in (found.fix or "")


def test_no_option_takes_a_value_and_none() -> None:
    assert not sbatch_options.FLAGS & (sbatch_options.VALUED | sbatch_options.EITHER)
    assert not sbatch_options.VALUED & sbatch_options.EITHER


# words, programs, placeholders


@pytest.mark.parametrize(
    ("key", "word", "right"),
    [
        ("srun_args", "--cpu-bind none", '"--cpu-bind=none"'),
        ("srun_args", "--cpu-bind=none --mem=0", '"--cpu-bind=none", "--mem=0"'),
        ("srun_args", "--label --unbuffered", '"--label", "--unbuffered"'),
        ("srun_args", "--mem 0 --exact", '"--mem=0", "--exact"'),
        ("srun_args", "-c8 -v", '"-c8", "-v"'),
        ("srun_args", "-l --exact", '"-l", "--exact"'),
        ("srun_args", "-d afterok:1", '"-d", "afterok:1"'),
    ],
)
def test_several_words_in_one(bench: Bench, key: str, word: str, right: str) -> None:
    found = _found(bench, f'{key} = ["{word}"]')
    assert [finding.code for finding in found] == ["bad-form"] and right in (found[0].fix or "")


@pytest.mark.parametrize(
    "words",
    [
        *('"--cpu-bind=none", "--mem=0"', '"--mem", "0"', '"-c", "8"', '"--comment=a b -- c"'),
        *(
            '"--prolog=/opt/my tools/p"',
            '"--mpi", "pmix"',
            '"-c8"',
            '"-c 8"',
            '"-lu"',
            '"-K1"',
            '"-W", "60"',
            '"--wait", "60"',
        ),
        *(
            '"--site-option", "on"',
            '"--comment", "hostname"',
            '"-J", "-n"',
            '"-Jmy-name"',
            '"--no-container-entrypoint"',
        ),
        *('"--comment=see --nodes=2"', '"--exclusive", "--label"', '"--mem=0", "-vv"', '"--ntasks-per-core=1"'),
        *('"--kill-on-bad-exit=0"', '"--export-env=x"', '"--container-image=i.sqsh"', '"--output-filter", "x"'),
    ],
)
def test_words_that_are_right(bench: Bench, words: str) -> None:
    assert _found(bench, f"srun_args = [{words}]") == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ('"hostname"', "'hostname'"),
        ('"--label", "hostname", "-n4"', "'hostname'"),
        ('"--exclusive", "user"', "'user'"),
        ('"--mpi", "pmix", "x"', "'x'"),
        ('"--"', "'--'"),
        ('"--nod=2", "$X"', "'$X'"),
        *((f'"{word}"', f"'{word}'") for word in ("--ntasks=4", "-n4", "--nodes=1", "-N1", "--output=/x", "--out=/x")),
        *((f'"{word}"', f"'{word}'") for word in ("--chdir=/", "--export=NONE", "--multi-prog", "--multi", "--pty")),
        *((f'"{word}"', f"'{word}'") for word in ("--help", "--version", "--test-only", "--jobid=5", "-w n1", "-lvn4")),
        *((f'"{word}", "1"', f"'{word}'") for word in ("-n", "--ntasks", "--nodelist", "-lD", "--ntasks-per-node")),
    ],
)
def test_a_word_that_replaces_the_agent_or_the_launchers_own_options_is_refused(
    bench: Bench, words: str, wrong: str
) -> None:
    found = _found(bench, f"srun_args = [{words}]")
    assert ("bad-form", "error") in [(finding.code, finding.level) for finding in found]
    assert f"srun_args = {wrong}" in found[0].message


def test_an_option_without_its_dashes_is_told_with_them(bench: Bench) -> None:
    (found,) = _found(bench, 'srun_args = ["mpi=pmix"]')
    assert found.level == "error" and found.fix == 'srun_args = ["--mpi=pmix"]'


@pytest.mark.parametrize("word", ["--container-image=v", "--container-workdir=/x", "--container-im=v"])
def test_sruns_own_image_is_the_profiles(bench: Bench, word: str) -> None:
    image = SLURM.replace('"none"', '"/shared/i.sqsh"')
    (found,) = _found(bench, f'srun_args = ["{word}"]', profile=image)
    assert found.level == "error" and "container_" in (found.fix or "")
    assert _found(bench, 'srun_args = ["--container-name=x"]', profile=image) == []
    assert _found(bench, f'srun_args = ["{word}"]') == []


@pytest.mark.parametrize(
    "value",
    ["python3 -u", "uv run python", "/usr/bin/env python3", "conda run -n x python", "/opt/py/bin/python -X dev"],
)
def test_python_with_arguments(bench: Bench, value: str) -> None:
    found = _found(bench, f'python = "{value}"')
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", "error")]
    assert "alone" in found[0].message


@pytest.mark.parametrize(
    "value", ["python3", "/opt/my venv/bin/python", "/opt/py-3.12/bin/python3", "/opt/a~b/bin/python", "/opt/a$/python"]
)
def test_a_python_that_is_one_program(bench: Bench, value: str) -> None:
    assert _found(bench, f'python = "{value}"') == []


@pytest.mark.parametrize(
    "value",
    ["~/venv/bin/python", "~ada/venv/bin/python", "$HOME/venv/bin/python", "${VENV}/bin/python", "/x/$USER/bin/python"],
)
def test_a_python_that_a_shell_would_have_to_expand(bench: Bench, value: str) -> None:
    (found,) = _found(bench, f'python = "{value}"')
    assert (found.code, found.level) == ("bad-form", "error") and "no shell expands" in found.message


@pytest.mark.parametrize("value", ["python3 ", " python3"])
def test_a_python_with_a_blank_around_it(bench: Bench, value: str) -> None:
    (found,) = _found(bench, f'python = "{value}"')
    assert (found.level, found.fix) == ("error", 'python = "python3"')


@pytest.mark.parametrize("value", ["TODO", "xxx", "for YOU", "see <ada@example.org>", "/path/to/x"])
def test_a_comment_is_any_text(bench: Bench, value: str) -> None:
    assert _found(bench, f'comment = "{value}"') == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("account", value)
            for value in ("YOUR-ACCOUNT", "<account>", "your_account", "changeme", "CHANGE_ME", "TODO")
        ),
        *(("account", value) for value in ("xxx", "...", "<your account here>", "insert-account-here", "REPLACE_ME")),
        ("partition", "YOUR_PARTITION"),
        ("data_dir", "/home/changeme/data"),
        ("reservation", "<none>"),
    ],
)
def test_a_placeholder_is_found(bench: Bench, key: str, value: str) -> None:
    found = _found(bench, f'{key} = "{value}"')
    assert ("placeholder", "error") in [(finding.code, finding.level) for finding in found]


def test_placeholders_of_paths_and_lists(bench: Bench) -> None:
    lines = (
        'mounts = ["/path/to/data:/data"]\ncontainer_image = "/path/to/nemo.sqsh"\npython = "/home/YOU/venv/bin/python"'
    )
    found = _found(bench, lines, profile=SLURM.replace('container_image = "none"\n', ""))
    assert [finding.code for finding in found] == ["placeholder"] * 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("account", "yourlab"),
        ("account", "youth-account"),
        ("account", "xx"),
        ("partition", "todos"),
        ("python", "/shared/your-lab-tools/bin/python"),
        ("data_dir", "/shared/pathto/data"),
        ("gpu", "H100"),
    ],
)
def test_a_name_that_looks_a_little_like_one_passes(bench: Bench, key: str, value: str) -> None:
    assert _found(bench, f'{key} = "{value}"') == []


# ssh, GPUs, Docker


def test_a_key_file_that_is_not_there_is_a_warning(bench: Bench, tmp_path: Path) -> None:
    ssh = 'tunnel = "ssh"\nhost = "login"\nidentity = "{}"'
    for name in ("there", "agents.pub"):
        (tmp_path / name).write_text("")
    found = _found(bench, ssh.format(tmp_path / "gone"))
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", "warning")]
    assert str(tmp_path / "gone") in found[0].message
    for name in ("there", "agents"):  # of the second an agent has the other half
        assert _found(bench, ssh.format(tmp_path / name)) == []


@pytest.mark.parametrize("host", ["login:2222", "me@login:22", "login -p 2222"])
def test_a_host_with_a_port_is_told_where_that_goes(bench: Bench, host: str) -> None:
    text = f'tunnel = "ssh"\nhost = "{host}"'
    refused(ProfileError, lambda: _found(bench, text), "host", "ssh/config", "ssh://" if ":" in host else "options")


@pytest.mark.parametrize(
    "host", ["login", "me@login", "10.0.0.1", "fe80::1", "::1", "me@fe80::1%eth0", "ssh://me@login:2222"]
)
def test_a_host_that_ssh_takes(bench: Bench, host: str) -> None:
    assert _found(bench, f'tunnel = "ssh"\nhost = "{host}"') == []


@pytest.mark.parametrize(
    ("lines", "right"),
    [
        ('host = "ssh://login:22/path"', '"ssh://login:22"'),
        ('host = "ssh://login:99999"', '"ssh://login:22"'),
        ('host = "ssh://login:0"', '"ssh://login:22"'),
        ('host = "ssh://me@[fe80::1]:x"', '"ssh://me@[fe80::1]:22"'),
        ('host = "ssh://:22"', "ssh://login:2222"),
        ('host = "ssh://ada@h"\nuser = "bob"', "leave the other out"),
        ('host = "ada@h"\nuser = "bob"', "leave the other out"),
        ('host = "h"\nuser = "$USER"', "leave it out"),
        ('host = "h"\nuser = "ada@h"', 'user = "ada"'),
    ],
)
def test_an_address_that_ssh_does_not_take(bench: Bench, lines: str, right: str) -> None:
    (found,) = _found(bench, f'tunnel = "ssh"\n{lines}')
    assert (found.code, found.level) == ("bad-form", "error") and right in (found.fix or "")


@pytest.mark.parametrize(
    "lines",
    [
        *(
            'host = "ssh://login"',
            'host = "ssh://login:22/"',
            'host = "ssh://me@[fe80::1]:22"',
            'host = "ssh://l:65535"',
        ),
        *('host = "ada@h"\nuser = "ada"', 'host = "h"\nuser = "ada@corp.example.org"', 'host = "h"\nuser = "ada.b-c"'),
    ],
)
def test_an_address_that_ssh_takes(bench: Bench, lines: str) -> None:
    assert _found(bench, f'tunnel = "ssh"\n{lines}') == []


def test_an_identity_that_is_a_directory_is_a_warning(bench: Bench, tmp_path: Path) -> None:
    (found,) = _found(bench, f'tunnel = "ssh"\nhost = "login"\nidentity = "{tmp_path}"')
    assert found.level == "warning" and "is a directory" in found.message


def test_more_processes_than_gpus_are_found_for_a_cluster(bench: Bench) -> None:
    def errors(lines: str) -> list[str]:
        bench.env(f"{SLURM}{lines}\n")
        plan = bench.plan(profile="c", environ={}, offline=True)
        return [f"{finding.message}" for finding in checks.run(plan, offline=True) if finding.code == "too-few-gpus"]

    assert errors("nproc_per_node = 8") == errors("nproc_per_node = 2") == []
    assert "nproc_per_node = 16" in errors("nproc_per_node = 16")[0]
    for word in ("--gres=none", "--gres=gpu:0", "--gres=gpu:h100:4", "--gpus=4", "--gpus-per-node=h100:2"):
        (told,) = errors(f'srun_args = ["{word}"]')
        assert f"srun_args = '{word}'" in told
    assert errors('srun_args = ["--gpus=8", "--gpus-per-task=8", "--gres=gpu", "-G4"]\nnproc_per_node = 1') == []
    assert errors('srun_args = ["--gres=shard:1", "--gpus-per-socket=4"]') == []


def test_more_processes_than_gpus_of_gres(bench: Bench) -> None:
    def errors(lines: str) -> list[str]:
        bench.env(f'[c]\nexecutor = "slurm"\nnproc_per_node = 4\n{lines}\n')
        plan = bench.plan(profile="c", environ={}, offline=True)
        return [finding.message for finding in checks.run(plan, offline=True) if finding.code == "too-few-gpus"]

    for value in ("gpu:2", "gpu", "gpu:h100:2,shard:4", "gpu=2", "gpu:a100:1,gpu:h100:2"):
        assert f"gres = '{value}'" in errors(f'gres = "{value}"')[0]
    for value in ("gpu:4", "gpu:a100:2,gpu:h100:2", "gpu:8K", "shard:2", "none"):
        assert errors(f'gres = "{value}"') == []
    assert errors('gres = "gpu:2"\nexclusive = true') == []  # which gives all that a node has


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ('time = "01:00:00"\nsrun_args = ["--time=00:10:00"]', 1),
        ('srun_args = ["--time=10"]', 1),
        ('time = "01:00:00"\nsrun_args = ["--time=2:00:00", "-v"]', 0),
    ],
)
def test_a_step_that_ends_before_the_job_is_a_warning(bench: Bench, lines: str, count: int) -> None:
    bench.env(f"{SLURM}{lines}\n")
    plan = bench.plan(profile="c", environ={}, offline=True)
    found = [one for one in checks.run(plan, offline=True) if one.code == "time-limit"]
    assert [(one.level, "srun kills" in one.message) for one in found] == count * [("warning", True)]


DOCKER = '\n[c]\nexecutor = "docker"\ncontainer_image = "i:1"\ngpus_per_node = 0\n'


@pytest.mark.parametrize("value", ["16g", "16G", "16gb", "16GiB", "1.5g", "64m", "17179869184", "17179869184b", "16 g"])
def test_sizes_that_docker_takes(bench: Bench, value: str) -> None:
    assert _found(bench, f'shm_size = "{value}"', profile=DOCKER) == []


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ('shm_size = "16 gigs"', "error"),
        ('shm_size = "big"', "error"),
        ('shm_size = "64"', "warning"),
        ('ipc_mode = "hosts"', "error"),
        ('docker_args = ["--ulimit memlock=-1"]', "error"),
        ('docker_args = ["-v /a:/b"]', "error"),
        ('docker_args = ["-e FOO=bar"]', "error"),
        ('docker_args = ["-it --rm"]', "error"),
        ('docker_args = ["--shm-size=1g --ipc=host"]', "error"),
    ],
)
def test_values_that_docker_does_not_take(bench: Bench, line: str, level: str) -> None:
    found = _found(bench, line, profile=DOCKER)
    assert [(finding.code, finding.level) for finding in found] == [("bad-form", level)]


@pytest.mark.parametrize(
    "line",
    [
        *('ipc_mode = "host"', 'ipc_mode = "container:x"', 'docker_args = ["--ulimit", "memlock=-1"]'),
        *(
            'docker_args = ["--env=OPTS=-a --nodes=2"]',
            'docker_args = ["--label=a b --x"]',
            'docker_args = ["-eA=b -c"]',
        ),
        *('docker_args = ["-v", "/a b:/b"]', 'docker_args = ["--entrypoint=/a --nodes"]'),
    ],
)
def test_values_that_docker_takes(bench: Bench, line: str) -> None:
    assert _found(bench, line, profile=DOCKER) == []
