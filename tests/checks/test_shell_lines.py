"""Setup lines and startup commands that bash does not understand are found before the queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automodel_launch.checks import shell_lines
from automodel_launch.plan.finding import Finding
from tests.workbench import Bench, make_bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """With a home directory that has the files below, which are empty."""
    home = tmp_path / "home"
    home.mkdir()
    for name in (".bashrc", "env", "conda.sh", "functions.sh", "two words"):
        (home / name).touch()
    monkeypatch.setenv("HOME", str(home))
    return make_bench(tmp_path)


def _found(bench: Bench, setup: str | list[str], startup: list[str]) -> list[Finding]:
    lines = f"setup_lines = {json.dumps(setup)}\nstartup_commands = {json.dumps(startup)}\n"
    bench.env(f'[c]\nexecutor = "local"\n{lines}')
    return list(shell_lines.syntax(bench.plan(profile="c")))


@pytest.mark.parametrize(
    ("setup", "startup", "words"),
    [
        ([], ["true", "if true; then", "fi"], ("startup_commands", "line 3", "`fi'")),
        ("true\necho $(\n", [], ("setup_lines", "unexpected EOF")),
        (["true", "for x in a; do"], ["true", "done done"], ("startup_commands", "line 2", "`done'")),
        ([], ["echo 'open"], ("startup_commands", "unexpected EOF")),
        ([], ["true", "cat <<END", "text"], ("startup_commands", "here-document")),
        (["f() {"], [], ("setup_lines", "unexpected end of file")),
        ([], ["echo a)"], ("startup_commands", "line 1", "`)'")),
    ],
)
def test_shell_lines_that_bash_does_not_understand_are_an_error_before_the_queue(
    bench: Bench, setup: str | list[str], startup: list[str], words: tuple[str, ...]
) -> None:
    (finding,) = _found(bench, setup, startup)
    assert (finding.level, "env.toml [c]" in finding.message) == ("error", True)
    assert [word for word in words if word not in finding.message] == []


@pytest.mark.parametrize(
    ("setup", "startup"),
    [
        ([], []),
        (["if true; then"], ["true", "fi"]),  # one script
        (["cat > f <<END", "it's a text ) fi"], ["END"]),
        (["source /nowhere/env.sh"], ["rm -f !(keep)", "ls @(a|b)"]),  # extglob, which that file may switch on
        (["module load cuda/12 && ulimit -l unlimited"], ["export A=${B:-c} C=${D@Q}", "x=(1 2) y=$((1+2))"]),
        ("", ["# only 'words", "[[ a =~ ^(b|c)$ ]] || :", "cat <<< x |& cat &>> /dev/null"]),
    ],
)
def test_shell_lines_that_bash_understands_are_no_finding(
    bench: Bench, setup: str | list[str], startup: list[str]
) -> None:
    assert _found(bench, setup, startup) == []


def test_nothing_is_run_by_the_check(bench: Bench, tmp_path: Path) -> None:
    assert _found(bench, [f"touch {tmp_path}/ran"], [f"$(touch {tmp_path}/ran)"]) == []
    assert not (tmp_path / "ran").exists()


def _endings(bench: Bench, lines: list[str]) -> list[Finding]:
    bench.env(f'[c]\nexecutor = "local"\nsetup_lines = {json.dumps(lines)}\n')
    return list(shell_lines.endings(bench.plan(profile="c")))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["echo on", "exit 0"], ("`exit 0`", "never begins")),
        (["exec bash -l"], ("`exec bash -l`",)),
        (["export A=1", ". /nowhere/env.sh"], ("`. /nowhere/env.sh`", "no such file")),
        (["cd /nowhere # the code"], ("`cd /nowhere`", "no such directory")),
        (["conda activate x"], ("no ~/.bashrc", 'eval "$(conda shell.bash hook)"')),
        (["export PATH=/opt/conda/bin:$PATH", "conda activate x"], ("`conda activate x`", "no ~/.bashrc")),
        (["export PATH=/opt/site/bin:$PATH", "A = 1"], ("`A = ...`",)),
        (["micromamba activate x"], ('eval "$(micromamba shell hook --shell bash)"',)),
        (["mamba activate x"], ('eval "$(mamba shell hook --shell bash)"',)),
        (["cd /nowhere/a#b"], ("`cd '/nowhere/a#b'`",)),
        (["[[ -d / ]] && cd /", "exit 1 # don't"], ("`exit 1`",)),
        (["exprot SITE_KEY_FILE=told-nobody"], ("`exprot`", "bash has no command exprot", "export")),
        (["eport PATH"], ("`eport`",)),
        (["set -u", "soruce /etc/profile"], ("`soruce`", "source")),
        (["HF_HOME = /data"], ("`HF_HOME = ...`", "for a command", "HF_HOME=VALUE")),
        (["HF_HOME =/data"], ("`HF_HOME = ...`",)),
        (["WORKERS= 1"], ("`WORKERS= ...`", "behind the blank", "WORKERS=VALUE")),
        (["A=1 SITE_KEY_FILE= told-nobody"], ("`SITE_KEY_FILE= ...`",)),
        (["$SITE_TAG=told-nobody"], ("`$SITE_TAG=...`", "SITE_TAG=VALUE, without a $")),
        (["${PATH}=/opt/bin:$PATH"], ("`$PATH=...`",)),
        (
            ["export SITE_KEY = told-nobody"],
            ("`export ...`", "a blank beside its =", "export NAME=VALUE, without blanks around ="),
        ),
        (["export SITE_KEY= told-nobody 1a"], ("a blank beside its =",)),
        (["export SITE_KEY: told-nobody"], ("word 1",)),
        (["readonly SITE-KEY=told-nobody"], ("`readonly ...`", "word 1", "letters, digits and _")),
        (["declare -x A=1 1B=$C"], ("`declare ...`", "word 2")),
        (["set -o pipefial"], ("`set -o pipefial`", "invalid option name", "`help set`")),
        (["shopt -s glbstar"], ("`shopt -s glbstar`", "invalid shell option name")),
        (["umask 999"], ("`umask 999`", "octal number out of range")),
        (["trap 'kill 0' INT TERN"], ("`trap ... INT TERN`", "TERN: invalid signal", "`help trap`")),
        (["let A=0"], ("`let A=0`", "comes out is 0", "A=0, without let")),
        (["ulimit -n 99999999999999"], ("`ulimit -n 99999999999999`", "bash says `ulimit: ", "ulimit -H -a")),
        (["[ -d /nowhere ]"], ("`[ -d /nowhere ]`", "no such directory", "path; `[ -d /nowhere ] || true`")),
        (["[[ -d /nowhere ]]"], ("`[[ -d /nowhere ]]`", "no such directory")),
        (["test -x /nowhere/tool"], ("`test -x /nowhere/tool`", "no such file")),
        (["test -s '/no where'"], ("`test -s '/no where'`", "no such file")),
        (["moduel load cuda"], ("`moduel`", "this machine has no command moduel")),
        (["export A=1", "setenv A 1"], ("no command setenv",)),
        (["cd '/no where'"], ("`cd '/no where'`", "`[ -e '/no where' ] && cd '/no where' || true`")),
        (["cd code/not-there"], ("`cd code/not-there`", "the job's own directory code/", "code = [...]")),
        (["source scripts/env.sh"], ("`source scripts/env.sh`", "which has what travels", "its whole path")),
        (["set -e", ". no-such-env.sh"], ("`. no-such-env.sh`", "no such file")),
        (["[ -f recipes/none.py ]"], ("`[ -f recipes/none.py ]`",)),
        (["source ~/none.sh"], ("`source ~/none.sh`", "`[ -e ~/none.sh ] && source ~/none.sh || true`")),
        (['cd "$HOME/no where"'], ("`cd $HOME/'no where'`", "no such directory")),
        (["false"], ("`false`: it always fails", "`false || true`")),
        (["A=1; false"], ("`false`",)),
        (["cd /; exit 3;"], ("`exit 3`",)),
        (["shift"], ("`shift`",)),
        (["local A=1"], ("`local A=1`", "can only be used in a function", "NAME=VALUE without it")),
        (["expr 1 - 1"], ("`expr 1 - 1`", "comes out is 0")),
        (["(( 0 ))"], ("`((0))`", "comes out is 0")),
        (["((A=0)) # none"], ("`((A=0))`", "A=0, without the brackets")),
        (["(( 2 > 3 ));"], ("`((2 > 3))`",)),
        (["i=0", "let i++"], ("`let i++`", "i=$((i + 1))")),
        (["i=1", "((--i))"], ("`((--i))`", "i=$((i - 1))")),
        (["test 1 = 2"], ("`test 1 = 2`", "it is never true", "`test 1 = 2 || true`")),
        (["[ '' ]"], ("`[ '' ]`",)),
        (["[[ a == b ]]"], ("`[[ a == b ]]`",)),
        (["[ ! a = a ]"], ("`[ ! a = a ]`",)),
        (["[ 10 -lt 9 ]"], ("`[ 10 -lt 9 ]`",)),
        (["[ -n '' ]"], ("`[ -n '' ]`",)),
        (["kill -TREM $$"], ("`kill -TREM $$`", "TREM: invalid signal", "`kill -l`")),
        (["kill -s FOO 1"], ("`kill -s FOO 1`",)),
        (["readonly A=1", "A=2"], ("`A=...`", "A cannot be set: a line above has made it read-only")),
        (["declare -rx A=1", "export B=1 A=$(date)"], ("`export ...`", "A cannot be set")),
        (["readonly A", "unset A"], ("`unset ...`", "A cannot be set")),
        (["readonly A=1", "A=2 || true"], ("`A=...`",)),
        (["export UID=$(id -u)"], ("`export ...`", "UID cannot be set: bash itself has it", "UID has its value")),
        (["EUID=$((1 + 2))"], ("`EUID=...`",)),
        (
            ["set -euo pipefail", "export A=/x:$NO_SUCH_NAME"],
            ("`... $NO_SUCH_NAME ...`", "set -u", "${NO_SUCH_NAME:-}"),
        ),
        ([": ${NO_SUCH_NAME:?export it first}"], ("`... ${NO_SUCH_NAME:?...} ...`", "set nowhere", "env_vars")),
        (["export A=${NO_SUCH_NAME?}/x"], ("`... ${NO_SUCH_NAME:?...} ...`",)),
        (["set -o nounset; export A=${NO_SUCH_NAME}"], ("`... ${NO_SUCH_NAME} ...`",)),
        (["umask 400x"], ("`umask 400x`",)),
    ],
)
def test_lines_that_end_the_job_are_an_error_before_the_queue(
    bench: Bench, lines: list[str], words: tuple[str, ...]
) -> None:
    (finding,) = _endings(bench, lines)
    assert (finding.level, finding.code, "env.toml [c]" in finding.message) == ("error", "ends-the-job", True)
    assert [word for word in words if word not in f"{finding.message} {finding.fix}"] == []
    assert "told-nobody" not in finding.message  # what is set may be a secret


@pytest.mark.parametrize(
    "lines",
    [
        ["exec 2>&1", "exec > >(cat)", "source /nowhere || true", "[ -f /nowhere ] && . /nowhere"],
        ["if [ -d /nowhere ]; then", "cd /nowhere", "exit 1", "fi"],
        ["mkdir -p /nowhere/at", "cd /nowhere/at/all", "source $HOME/env", "source ~/env", "(cd /nowhere)"],
        ["python -m venv /nowhere/venv", "source /nowhere/venv/bin/activate"],
        ['eval "$(conda shell.bash hook)"', "conda activate x"],
        ["source ~/.bashrc", "conda activate x", "cd /"],
        ["stop() {", "exit 1", "}"],
        ["cat > notes <<END", "exit 1", "END"],
        ["[ -d /tmp ] || {", "exit 1", "}"],
        ["ls /tmp ||", "exit 1"],
        ["cat list | while read one; do", "exit 1", "done"],
        ["NOW=$(", "exit 1", ")"],
        ["set +e", "cd /nowhere", "conda activate x"],
        ["[ -f ~/conda.sh ] && . ~/conda.sh", "conda activate x"],
        ["source ~/conda.sh 2>/dev/null", "conda activate x"],
        ["mkdir -p /nowhere && touch /nowhere/env.sh", "source /nowhere/env.sh"],
        ["printenv > /nowhere/env.sh", "source /nowhere/env.sh"],
        ["export VENV=/nowhere/venv", "python -m venv $VENV", "source /nowhere/venv/bin/activate"],
        ["cd /tmp", "python -m venv nowhere", "source /tmp/nowhere/bin/activate"],
        [f"cd /{300 * 'x'}"],
        [
            "export A=1",
            "A=1",
            "echo = 1",
            "test = =",
            "A=1 env",
            "[ a = b ] || :",
        ],
        ["set +e", "exprot A=1", "A = 1"],
        ["export A B=1 C+=:x", "export -n A", "export -fp x-y", "declare -A map", "declare -F x-y", "readonly -- A=1"],
        ["export A=`date +%F`", "export A=${B:-x y}", "export {A,B}=1", "export $NAMES", 'export A="x = y" B'],
        ["export A=$((1 + 2))", "export A=(1 = 2)", "export A='1 2'=3", "export"],
        ["set -euo pipefail", "set -- a b", "set -x", "shopt -s globstar", "shopt login_shell", "umask 0077", "umask"],
        ["A= env", "IFS= read -r x <<< y", "A=$B env", "A=1 $B x", "$A x=1", "./no-such", "/nowhere/command x"],
        ["trap 'touch /nowhere/x' EXIT TERM", "trap - FOO", "trap -p", "trap 'kill 0' $SIGNALS", "trap"],
        ["ulimit -n", "ulimit -S -c 0", "let A=1 B=2", "let A=B", "let", "[ -d / ]", "[ -d ~ ]", "[ ! -d /nowhere ]"],
        ["[[ -d $A ]]", "[[ -d /nowhere/* ]]", "[[ -d /nowhere || -d / ]]", "test -d", "test x", "[ -f / -o -d / ]"],
        ["ulimit -c 0", "type bash", "[ 1 = 1 ]", "! true", "true", ": x"],
        ["no-such-command || true", "set +e", "no-such-command"],
        ["exprot A=1 || true", "A = 1 || :"],
        ["false || true", "! false", "A=1 && false || :", "if false; then", "exit", "fi"],
        ["while false; do", "exit", "done"],
        [
            "(( 0 )) || true",
            "((1))",
            "(( A = 2 ))",
            "(( 0 < 1 ))",
            "((A++))",
            "let A++",
            "i=0",
            "((++i))",
            "((B=1, 0 + 1))",
        ],
        ["((0)) && ((1))", "((0)) || ((1))", "((0)) || true", "A=$((0))"],
        ["set -u", "export A=$(echo $NOT_SET)", "echo $(cd $NOT_SET || true)"],
        ["i=0", "for x in 1 2; do ((i++)) || true; done"],
        ["i=0", "i=$((i + 1))", "((i++))"],
        ["i=0", "[ -z $A ] && i=1", "((i++))"],
        [
            "test 1 = 1",
            "[ a != b ]",
            "[ $A = 1 ]",
            "[ 1 = 2 ] || true",
            "[ a -nt b ] || :",
            "[[ 3 -gt 2 ]]",
            "[ ! a = b ]",
        ],
        [
            "[ -v PATH ]",
            "[ -o errexit ]",
            "[[ A -eq 0 ]]",
            "expr 1 + 1",
            "expr length abc",
            "[ 'a b' ]",
            "[ $(id -u) = 0 ]",
        ],
        ["kill -TERM $$ || true", "kill -l", "kill -0 $$", "kill -s TERM 1 || :", "kill $PID || :", "kill -l TERM"],
        ["set -- a", "shift", "f() { local A=1; }"],
        ["readonly A=1", "export A", "B=2", "readonly B", "declare -p A", "export UID", "unset -f A", "echo UID=5"],
        [
            "set -u",
            "A=$B || true",
            "export A=${NOT_SET:-}:${NOT_SET-x}",
            "export B=$A",
            "echo '$NOT_SET' $HOME $RANDOM",
        ],
        ["set -u", "source ~/env", "export A=$NOT_SET"],
        [": ${HOME:?} '${NOT_SET:?}' \\${NOT_SET:?}", "export A=1", ": ${A:?}", ": ${B:=1}", ": ${SLURM_JOB_ID:?}"],
        ["set -u", "set +u", "export A=$NOT_SET", "set -o nounset", "set +o nounset", "A=$NOT_SET"],
        ["set -u", "read -r LINE <<< x", "export A=$LINE ${#LINE} $$ $# \\$NOT_SET", "echo $LAUNCH_JOB_DIR"],
        ["cd recipes", "cd ..", "cd code", "cd -"],
        ["[ -f recipes/stub.py ]", "[ -d recipes ]", "[ -d ./recipes/ ]", "cd .", "cd ../", "cd /tmp", "source ./x"],
        ["source ls || true", "source ~/env", 'source "$HOME/two words"', "cd ~", "cd", "cd $HOME"],
        ["umask 022", "umask -S", "umask u=rwx,g=,o=", "umask 077; umask"],
        ["unset A B", "unset -f PATH || true", "export PATH"],
    ],
)
def test_lines_that_may_go_on_are_no_finding(bench: Bench, lines: list[str]) -> None:
    assert _endings(bench, lines) == []


def test_a_line_that_the_next_one_belongs_to_is_left_alone(bench: Bench) -> None:
    assert _endings(bench, ["A=1; false ||", "true", "echo (( 0"]) == []


@pytest.mark.parametrize(
    "profile", ['executor = "slurm"\nnproc_per_node = 8', 'executor = "docker"\ncontainer_image = "a"']
)
def test_what_bash_says_wherever_it_runs(bench: Bench, profile: str) -> None:
    """Not what is set or lies there."""
    lines = ["[ 1 = 2 ]", "umask 0700", "cd nowhere", "set -u", "source ~/none.sh", "A=$NO_SUCH_NAME"]
    bench.env(f"[c]\n{profile}\nsetup_lines = {json.dumps(lines)}\n")
    told, mode, place = shell_lines.endings(bench.plan(profile="c"))
    assert [one.level for one in (told, mode, place)] == 3 * ["error"]
    assert "never true" in told.message and "could not read or write what it makes" in mode.message
    assert "its own directory code/" in place.message.replace("the job's own", "its own")


def test_without_a_path_no_command_is_found(bench: Bench) -> None:
    warned, ended = _endings(bench, ["unset PATH", "echo builtin", "hostname"])
    assert (warned.level, ended.level) == ("warning", "error")
    assert "would find no command" in warned.message and "`hostname`: `unset PATH` above" in ended.message


def test_what_a_command_above_may_make_is_a_warning(bench: Bench) -> None:
    (finding,) = _endings(bench, ["bash make-env.sh", "source /nowhere/env.sh"])
    assert finding.level == "warning" and "unless a line above makes it" in finding.message


@pytest.mark.parametrize(
    "lines",
    [
        ["source ~/functions.sh"],
        ['eval "$(cat functions.sh)"'],
        ["export PATH=/opt/site/bin:$PATH"],
        ["env true"],  # or `pip install tool`
        ["module load tool"],
    ],
)
def test_a_command_that_a_line_above_may_bring_is_no_finding(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setenv("BASH_FUNC_module%%", "() { :; }")
    assert _endings(bench, [*lines, "no-such-command"]) == []


def test_a_typo_that_a_file_may_define_is_a_warning(bench: Bench) -> None:
    (finding,) = _endings(bench, ["source ~/functions.sh", "A = 1"])
    assert finding.level == "warning"


def test_a_function_of_the_environment_is_a_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Environment Modules and Lmod export."""
    monkeypatch.setenv("BASH_FUNC_sitetool%%", "() { :; }")
    assert _endings(bench, ["sitetool load cuda"]) == []


@pytest.mark.parametrize(
    "profile", ['executor = "slurm"\nnproc_per_node = 8\naccount = "a"', 'executor = "docker"\ncontainer_image = "a"']
)
def test_which_commands_another_machine_has_is_not_known_here(bench: Bench, profile: str) -> None:
    lines = ["report A=1", "soruce x", "exports A=1", "A= some-command", "ulimit -n 9999999999"]
    bench.env(f"[c]\n{profile}\nsetup_lines = {json.dumps(lines)}\n")
    assert list(shell_lines.endings(bench.plan(profile="c"))) == []


def test_looking_for_a_command_runs_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env.sh").write_text(f"touch {tmp_path}/ran; echo ran\n")
    monkeypatch.setenv("BASH_ENV", f"{tmp_path}/env.sh")
    touch = f"touch {tmp_path}/ran"
    lines = [f"trap '{touch}' EXIT", f"declare -i A='b[$({touch})]'", f"set -- $({touch})", f"let $({touch})", "A = 1"]
    (finding,) = _endings(bench, lines)
    assert finding.level == "warning" and "`A = ...`" in finding.message
    assert not (tmp_path / "ran").exists() and not capfd.readouterr().out


def test_conda_may_come_from_a_file_that_any_bash_reads(bench: Bench) -> None:
    bench.env('[c]\nexecutor = "local"\nsetup_lines = "conda activate x"\nenv_vars = {BASH_ENV = "/opt/conda.sh"}\n')
    assert list(shell_lines.endings(bench.plan(profile="c"))) == []
