"""`doctor --gpu`: the judge, on facts as nodes write them; the gathering of those; and what ends a check that hangs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from automodel_launch import workspace
from automodel_launch.commands import doctor_gpu as doctor_job
from automodel_launch.commands import main
from automodel_launch.commands.doctor_gpu_gather import gather
from automodel_launch.commands.doctor_gpu_watch import Watch
from automodel_launch.doctor.gpu import pairs as doctor_pairs
from automodel_launch.doctor.gpu import text as doctor_gpu_text
from automodel_launch.doctor.gpu import verdict as doctor_gpu
from automodel_launch.doctor.gpu.node import Limits
from automodel_launch.doctor.gpu.verdict import Node, Verdict
from automodel_launch.jobs import claims
from automodel_launch.jobs.records import Record, Status
from automodel_launch.launch.submit import record_of
from automodel_launch.profile import profiles
from automodel_launch.remote.filesystem import LOCAL
from tests.conftest import ROOT, Checkout
from tests.workbench import Bench, make_bench

GIB = 2**30
CONFIG = yaml.safe_load((ROOT / "configs" / "gpu-check" / "default.yaml").read_text())
LIMITS = Limits.of({**CONFIG, "gpus": 2})
Facts = dict[str, Any]


def _gpu(**changes: Any) -> Facts:
    gpu = {"bus": None, "name": "H100", "persistence": True, "ecc_uncorrected": 0, "sram_threshold": False}
    gpu |= {"pending": False, "remap_failure": False, "retired": None, "recovery": None, "temperature": 60}
    return {**gpu, "sm_mhz": 1700, "max_sm_mhz": 1980, "reasons": ["sw_power_cap"], **changes}


def _facts(number: int, of: int = 3, slow: tuple[tuple[int, int], ...] = (), **changes: Any) -> Facts:
    """A healthy node of two GPUs; pairs in `slow` have 2 GB/s, the others 40."""
    smi = {"found": True, "error": None, "driver": "550", "gpus": [_gpu(), _gpu()]}
    pairs = [
        {"peer": peer, "round": 0, "gb_s": 2.0 if tuple(sorted((peer, number))) in slow else 40.0, "error": None}
        for peer in range(of)
        if peer != number
    ]
    facts = {"phase": "done", "host": f"c{number}", "backend": "nccl", "torch": "2.13", "cuda": 2, "torch_error": None}
    facts |= {"paths": [_path("/jobs")], "smi": smi, "loaded": smi, "tflops": [600.0, 610.0], "load_error": None}
    facts |= {"all_reduce": {"gb_s": 400.0, "error": None}, "pairs": pairs, "clock": [100.0, 100.1, 100.2]}
    return {**facts, **changes}


def _path(
    path: str, error: str | None = None, free: float = 900, inodes: int | None = 10**6, write: bool = True
) -> Facts:
    return {"path": path, "write": write, "room": False, "error": error, "free": int(free * GIB), "inodes": inodes}


def _nodes(*facts: Facts | None) -> list[Node]:
    return [Node(number, f"c{number}", found) for number, found in enumerate(facts)]


def _judge(*facts: Facts | None, limits: Limits = LIMITS) -> Verdict:
    return doctor_gpu.judge(_nodes(*facts), limits)


def _one_bad(**changes: Any) -> Verdict:
    """Three nodes, of which the last has these facts."""
    return _judge(_facts(0), _facts(1), _facts(2, **changes))


def _smi(*gpus: Facts, **changes: Any) -> Facts:
    return {"found": True, "error": None, "driver": "550", "gpus": list(gpus), **changes}


def test_all_is_well() -> None:
    verdict = _judge(_facts(0), _facts(1), _facts(2))
    assert (verdict.well, verdict.bad, verdict.faults) == (True, [], ())
    assert [verdict.state(node) for node in verdict.nodes] == ["ok"] * 3
    shown = doctor_gpu_text.text(verdict, "", "dgx", 2, colour=False)
    assert shown.splitlines()[2].split() == ["c0", "ok", "2/2", "0", "1700", "400.0", "40.0", "900", "+0.0"]
    assert shown.endswith("all is well")
    assert "exclude" not in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smi": _smi(_gpu())}, "GPUs: 1 of 2"),
        ({"smi": _smi(error="nvidia-smi: GPU is lost. Reboot the system")}, "nvidia-smi: GPU is lost"),
        ({"smi": _smi(found=False)}, "nvidia-smi: there is none, and 2 GPUs are wanted"),
        ({"smi": _smi(_gpu(), _gpu(ecc_uncorrected=2, bus="0:1B"))}, "GPU 1 (0:1B): 2 uncorrected ECC errors"),
        ({"smi": _smi(_gpu(), _gpu(pending=True))}, "GPU 1: memory rows or pages wait for a reset"),
        ({"smi": _smi(_gpu(), _gpu(remap_failure=True))}, "needs a replacement"),
        ({"smi": _smi(_gpu(), _gpu(sram_threshold=True))}, "threshold for a replacement"),
        ({"smi": _smi(_gpu(), _gpu(recovery="Reboot"))}, "nvidia-smi asks for: Reboot"),
        ({"smi": _smi(_gpu(), _gpu(reasons=["hw_thermal_slowdown"]))}, "GPU 1: clocks are held down: too hot"),
        (
            {"loaded": _smi(_gpu(reasons=["hw_power_brake_slowdown"]), _gpu())},
            "GPU 0: clocks are held down: power brake",
        ),
        ({"loaded": _smi(_gpu(), _gpu(sm_mhz=900))}, "GPU 1: 900 MHz under load, the median of all GPUs is 1700"),
        ({"tflops": [600.0, 300.0]}, "GPU 1: 300 TFLOP/s in matrix products"),
        ({"load_error": "rank 1: CUDA error"}, "load: rank 1: CUDA error"),
        ({"torch_error": "torch cannot be imported"}, "torch: torch cannot be imported"),
        ({"cuda": 1}, "torch: torch 2.13 sees 1 GPUs, nvidia-smi 2"),
        ({"all_reduce": {"gb_s": 3.0, "error": None}}, "all-reduce: 3.0 GB/s among its own GPUs, the floor is 5"),
        ({"all_reduce": {"gb_s": 150.0, "error": None}}, "the median of all nodes is 400.0"),
        ({"all_reduce": {"gb_s": None, "error": "no answer"}}, "all-reduce: among its own GPUs: no answer"),
        ({"paths": [_path("/data", "not writable: Read-only file system")]}, "/data: not writable: Read-only"),
        ({"paths": [_path("/tmp", free=2)]}, "/tmp: 2.0 GiB free, the limit is 5"),
        ({"paths": [_path("/tmp", inodes=10)]}, "/tmp: 10 free inodes"),
        ({"store_error": "no port could be opened"}, "network: no port"),
        ({"clock": [103.0, 103.1, 103.2]}, "clock: +3.0 s against the median"),
        ({"phase": "pairs", "pairs": None}, "no answer: nothing since its phase `pairs`"),
        ({"meeting_error": "came too late"}, "network: c2 could not reach c0: came too late"),
    ],
)
def test_a_fault_of_one_node_is_its_own(changes: Facts, words: str) -> None:
    verdict = _one_bad(**changes)
    assert not verdict.well
    assert verdict.bad == ["c2"], verdict.faults
    shown = doctor_gpu_text.text(verdict, "", "dgx", 2, colour=False)
    assert any(line.startswith("FAIL  c2: ") and words in line for line in shown.splitlines())
    assert 'put into [dgx] of env.toml:  exclude = "c2"' in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"paths": [_path("/data", free=1, write=False)]},
        {"paths": [_path("/dev/shm", free=0.6)]},
        {"paths": [_path("/jobs", inodes=None)]},
        {"smi": _smi(_gpu(reasons=["gpu_idle", "sw_power_cap"]), _gpu(sm_mhz=200))},  # idle
        {"smi": _smi(_gpu(ecc_uncorrected=None), _gpu(retired=3)), "loaded": _smi()},
        {"clock": [109.0, 100.2, 109.0]},  # two of three looks came late
        {"clock": []},
        {"smi": _smi(_gpu(), _gpu(), _gpu()), "cuda": 2},  # Slurm hides what was not asked for from torch only
    ],
)
def test_what_is_no_fault(changes: Facts) -> None:
    assert _one_bad(**changes).faults == ()


def test_a_warning_is_no_failure() -> None:
    verdict = _one_bad(smi=_smi(_gpu(persistence=False), _gpu()))
    assert (verdict.well, verdict.bad) == (True, [])
    assert verdict.state(verdict.nodes[2]) == "warn"
    assert "well enough" in doctor_gpu_text.text(verdict, "", "dgx", 2, colour=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": [_path("/data", "not there: No such file or directory")]}, "/data: on every node: not there"),
        ({"cuda": 0, "backend": "gloo", "torch": "2.13+cpu"}, "torch: on every node: torch 2.13+cpu sees 0 GPUs"),
        ({"smi": _smi(found=False), "cuda": 0}, "nvidia-smi: on every node: there is none"),
        ({"all_reduce": {"gb_s": 2.0, "error": None}}, "all-reduce: on every node: 2.0 GB/s"),
    ],
)
def test_a_fault_of_all_nodes_is_no_nodes_own(changes: Facts, words: str) -> None:
    verdict = _judge(*(_facts(number, **changes) for number in range(3)))
    assert (verdict.well, verdict.bad) == (False, [])
    shown = doctor_gpu_text.text(verdict, "", "dgx", 2, colour=False)
    assert f"FAIL  {words}" in shown
    assert "exclude" not in shown


def test_broken_gpus_are_each_nodes_own_even_if_all_have_one() -> None:
    assert _judge(*(_facts(n, smi=_smi(_gpu())) for n in range(2))).bad == ["c0", "c1"]


def test_without_gpus_nothing_is_said_of_them() -> None:
    changes: Facts = {"smi": _smi(found=False), "loaded": None, "tflops": None, "cuda": 0, "backend": "gloo"}
    limits = Limits.of({**CONFIG, "gpus": 0})
    verdict = _judge(*(_facts(n, slow=((0, 1),), **changes) for n in range(3)), limits=limits)
    assert verdict.faults == ()  # gloo's speed is not judged
    assert "over gloo on the CPU" in doctor_gpu_text.text(verdict, "", "dgx", 0, colour=False)


def _bad_pairs(count: int, *bad: tuple[int, int]) -> doctor_pairs.Blame:
    ends = [(a, b) for a in range(count) for b in range(a + 1, count)]
    return doctor_pairs.blame({pair: pair in bad for pair in ends})


@pytest.mark.parametrize(
    ("count", "bad", "nodes", "links"),
    [
        (3, [], [], []),
        (2, [(0, 1)], [], [(0, 1)]),
        (3, [(0, 2), (1, 2)], [2], []),
        (3, [(0, 1)], [], [(0, 1)]),
        (8, [(n, 5) if n < 5 else (5, n) for n in range(8) if n != 5], [5], []),
        (8, [(2, 5), (4, 5), (5, 6), (5, 7)], [5], []),
        (8, [(2, 5), (1, 6)], [], [(2, 5), (1, 6)]),
        (8, [(0, n) for n in range(1, 8)] + [(1, n) for n in range(2, 8)] + [(3, 4)], [0, 1], [(3, 4)]),
    ],
)
def test_who_is_to_blame(
    count: int, bad: list[tuple[int, int]], nodes: list[int], links: list[tuple[int, int]]
) -> None:
    found = _bad_pairs(count, *bad)
    assert (sorted(found.nodes), sorted(found.links), found.all) == (nodes, sorted(links), False)


@pytest.mark.parametrize("count", [3, 4, 9])
def test_when_all_pairs_are_bad_it_is_the_fabric(count: int) -> None:
    found = doctor_pairs.blame({(a, b): True for a in range(count) for b in range(a + 1, count)})
    assert (found.nodes, found.all) == ({}, True)


def test_a_slow_node_a_slow_link_a_slow_fabric() -> None:
    node = _judge(*(_facts(n, 4, slow=((0, 2), (1, 2), (2, 3))) for n in range(4)))
    assert node.bad == ["c2"]
    assert "3 of its 3 pairs are slow or broken; c0 with c2: 2.0 GB/s, the floor is 5" in node.faults[0].detail
    link = _judge(*(_facts(n, 4, slow=((1, 2),)) for n in range(4)))
    assert (link.well, link.bad) == (False, [])
    fabric = _judge(*(_facts(n, slow=((0, 1), (0, 2), (1, 2))) for n in range(3)))
    assert "not one node" in fabric.faults[0].detail
    two = _judge(*(_facts(n, 2, slow=((0, 1),)) for n in range(2)))
    assert "a third node would tell" in two.faults[0].detail


def test_a_pair_below_half_of_the_median_is_slow_above_the_floor_too() -> None:
    pair = doctor_pairs.Pair((0, 1), 19.0, None, "nccl")
    assert pair.slow(5.0, 40.0, 0.5) == "19.0 GB/s, the median of all pairs is 40.0"
    assert pair.slow(5.0, 37.0, 0.5) is None


def test_a_pair_that_breaks_is_told_by_the_side_that_knows_more() -> None:
    pairs = {
        0: [{"peer": 1, "gb_s": None, "error": "gone"}],
        1: [{"peer": 0, "gb_s": None, "error": "connection reset"}],
    }
    (pair,) = doctor_pairs.read({node: {"pairs": entries, "backend": "nccl"} for node, entries in pairs.items()})
    assert (pair.nodes, pair.error) == ((0, 1), "connection reset")


def test_a_node_that_is_silent_does_not_blame_the_others() -> None:
    broken = [{"peer": 2, "round": 0, "gb_s": None, "error": "rank 0: no answer within 20 s"}]
    verdict = _judge(_facts(0, pairs=broken), _facts(1, pairs=broken), None)
    assert verdict.bad == ["c2"]
    assert verdict.state(verdict.nodes[2]) == "no answer"
    row = doctor_gpu_text.text(verdict, "", "dgx", 2, colour=False).splitlines()[4]
    assert row.split() == ["c2", "no", "answer", "-", "-", "-", "-", "-", "-", "-"]


def test_node_0_has_the_store() -> None:
    lost: Facts = {"meeting_error": "timed out", "pairs": None, "clock": None}
    assert _judge(None, _facts(1, **lost), _facts(2, **lost)).bad == ["c0"]
    assert _judge(_facts(0), _facts(1, **lost), _facts(2, **lost)).bad == ["c0"]
    assert _judge(_facts(0), _facts(1), _facts(2, **lost)).bad == ["c2"]
    assert _judge(_facts(0, **lost), _facts(1, **lost), _facts(2, **lost)).bad == ["c0"]
    two = _judge(_facts(0, 2), _facts(1, 2, **lost))
    assert (two.well, two.bad) == (False, [])


def test_two_clocks_that_differ_do_not_tell_which_is_wrong() -> None:
    verdict = _judge(_facts(0, 2), _facts(1, 2, clock=[103.0, 103.1, 103.2]))
    assert verdict.bad == []
    assert verdict.faults[0].detail == "c0 and c1 are 3.0 s apart"


def test_a_check_that_was_ended_blames_nobody() -> None:
    verdict = doctor_gpu.judge(_nodes(_facts(0), None), LIMITS, "a job of higher priority took its nodes")
    assert (verdict.well, verdict.bad) == (False, [])
    assert "did not come to its end: a job of higher priority" in verdict.faults[0].detail


@pytest.mark.parametrize(
    ("present", "bad", "line"),
    [
        ("", ["c2"], 'exclude = "c2"'),
        ("c1,c2", ["c2", "c7"], 'exclude = "c1,c2,c7"'),
        ("c[1-3,5],d1", ["c9"], 'exclude = "c[1-3,5],d1,c9"'),
    ],
)
def test_the_exclude_line_keeps_what_is_excluded_already(present: str, bad: list[str], line: str) -> None:
    assert doctor_gpu_text.exclude_line(present, bad) == line


def test_an_executor_without_exclude_is_not_told_of_it() -> None:
    assert "env.toml" not in doctor_gpu_text.text(_one_bad(cuda=1), None, "local", 2, colour=False)


def test_many_faults_are_cut_and_coloured() -> None:
    verdict = _judge(*(_facts(n, smi=_smi(*[_gpu(ecc_uncorrected=1)] * 8)) for n in range(8)))
    shown = doctor_gpu_text.text(verdict, "", "dgx", 8, colour=True)
    assert "and 34 more" in shown
    assert "\033[1;31mFAIL" in shown
    assert json.loads(json.dumps(verdict.document()))["faults"][63]["node"] == "c7"


# --- gathering


def _write(folder: Path, name: str, value: Facts) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def test_what_agents_say_of_nodes_that_wrote_nothing(tmp_path: Path) -> None:
    _write(tmp_path, "gpu-check/node-0.json", {"phase": "done", "host": "c1", "hosts": ["c1", "c2", "c3", "c4"]})
    _write(tmp_path, "gpu-check/node-3.json", {"phase": "node", "host": "c4"})
    _write(tmp_path, "nodes/0.json", {"host": "c1"})
    _write(tmp_path, "nodes/1.json", {"host": "c2", "failure": {"error": "python was not found", "victim": False}})
    _write(tmp_path, "nodes/3.json", {"host": "c4", "failure": {"error": "another failed", "victim": True}})
    nodes = gather(LOCAL, str(tmp_path), 4)
    assert [node.host for node in nodes] == ["c1", "c2", "c3", "c4"]
    silences = [node.silence or "" for node in nodes]
    assert silences[:3] == ["", "python was not found", "its agent never started"]
    assert [node.victim for node in nodes] == [False, False, True, True]
    assert doctor_gpu.judge(nodes, LIMITS).bad == ["c2"]


def test_nodes_that_slurm_stopped_when_another_died(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path, f"gpu-check/node-{number}.json", {"phase": "pairs", "host": f"c{number}"})
        _write(
            tmp_path, f"nodes/{number}.json", {"host": f"c{number}", "state": "ended", "stop": {"signal": "SIGTERM"}}
        )
    _write(tmp_path, "nodes/1.json", {"host": "c1", "state": "running", "stop": None})
    assert doctor_gpu.judge(gather(LOCAL, str(tmp_path), 3), LIMITS).bad == ["c1"]
    verdict = doctor_gpu.judge(gather(LOCAL, str(tmp_path), 3, late=True), LIMITS)
    assert verdict.bad == ["c0", "c1", "c2"]  # who is well has come to an end by then
    assert "within the check's limits" in verdict.faults[0].detail


def test_a_node_that_hangs_and_one_that_died(tmp_path: Path) -> None:
    _write(tmp_path, "gpu-check/node-0.json", {"phase": "node", "host": "c1"})
    _write(tmp_path, "nodes/0.json", {"host": "c1", "stop": {"signal": "SIGKILL"}, "records": [{"code": 137}]})
    _write(tmp_path, "nodes/1.json", {"host": "c2", "records": [{"code": 1, "error": "OSError: disk"}]})
    nodes = gather(LOCAL, str(tmp_path), 3)
    assert [(node.host, node.silence) for node in nodes] == [
        ("c1", "it was told to stop"),
        ("c2", "OSError: disk"),
        ("node 2", "its agent never started"),
    ]
    assert doctor_gpu.judge(nodes, LIMITS).bad == ["c2"]


# --- an end for a check that hangs


class _Executor:
    cancelled = 0

    def place_of(self, record: Record) -> Any:
        return LOCAL

    def cancel(self, record: Record, now: bool = False) -> None:
        self.cancelled += now


def _watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *seen: tuple[float, str], begun: bool = True
) -> tuple[list[bool], int]:
    """What a Watch of 100 s answers to (time, state), and how often it cancelled."""
    executor = _Executor()
    monkeypatch.setattr("automodel_launch.executors.get", lambda name: executor)
    if begun:
        (tmp_path / "nodes").mkdir()
        (tmp_path / "nodes" / "1.json").write_text("{}")
    record = Record("j.1", "j", "gpu-check", "default", "p", "slurm", "run", str(tmp_path), str(tmp_path), "h", 0.0)
    times = iter([time for time, _ in seen])
    watch = Watch(record, 100.0, now=lambda: next(times))
    return [watch(Status(state)) for _, state in seen], executor.cancelled


def test_a_check_that_does_not_end_is_stopped_and_then_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [(0.0, "PENDING"), (900.0, "RUNNING"), (999.0, "RUNNING"), (1001.0, "RUNNING"), (1032.0, "RUNNING")]
    assert _watch(tmp_path, monkeypatch, *seen) == ([False, False, False, False, True], 1)


def test_a_check_that_slurm_begins_anew_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _watch(tmp_path, monkeypatch, (0.0, "RUNNING"), (50.0, "PENDING"), (60.0, "PENDING"))[1] == 1


def test_an_image_that_is_fetched_takes_no_time_of_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _watch(tmp_path, monkeypatch, (0.0, "RUNNING"), (400.0, "RUNNING"), begun=False) == ([False, False], 0)


# --- the command


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu", "locl"], "Did you mean 'local'"),
        (["--gpu", "two"], "runs on one machine"),
        (["--gpu", "local", "min_pair_gbs=3"], "min_pair_gb_s"),
        (["--gpu", "local", "run.env.nodse=3"], "'nodes'"),
        (["local", "min_pair_gb_s=3"], "belongs to --gpu"),
        (["--gpu"], "PROFILE"),
    ],
)
def test_bad_input(bench: Bench, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    bench.env('[two]\nextends = "local"\nnodes = 2\n')
    assert main.main(["doctor", *words, "--env", str(bench.workspace.env_file)]) == 2
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text


def test_the_check_stands_alone_whatever_the_profile_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "automodel_launch.executors.slurm.executor.Slurm.script"
    monkeypatch.setattr(script, lambda self, plan: "")  # NeMo-Run is slow
    bench.env(
        '[far]\nexecutor = "slurm"\ncontainer_image = "none"\nnodes = 4\ngpus_per_node = 8\ncpus_per_task = 3\n'
        'dependency = "singleton"\nchain = 5\nspares = 1\nstall = "9m"\ntime = "08:00:00"\nexclude = "c9"\n'
        'mounts = ["/a:/b", "$SCRATCH/x:/c:ro"]\nrank_times = 9\ntrack = ["wandb:p"]\non_checkpoint = "evaluate"\n'
    )
    values = dict(text.split("=", 1) for text in doctor_job.own_values(bench.plan(profile="far")))
    read = {key: json.loads(value) for key, value in values.items()}
    paths = [{"path": str(bench.root / "runs"), "write": True}, {"path": "/a", "write": True}]
    assert read.pop("paths") == [*paths, {"path": "$SCRATCH/x", "write": False}]
    assert read == {
        **{"ranks": 8, "gpus": 8, "run.env.cpus_per_task": 24, "run.env.time": "00:10:00", "run.env.stall": "off"},
        **{"run.env.code": [], "run.env.dependency": None, "run.env.chain": None, "run.env.spares": 0},
        **{"run.env.rank_times": None, "run.env.track": [], "run.env.on_checkpoint": None},
    }
    plan = bench.plan(
        *(text for text in doctor_job.own_values(bench.plan(profile="far")) if "run.env" in text), profile="far"
    )
    assert (plan.profile.dependency, plan.profile.chain, plan.profile.nodes, plan.profile.exclude) == (
        None,
        None,
        4,
        "c9",
    )


def test_this_machine(checkout: Checkout) -> None:
    done = checkout.run("doctor", "--gpu", "local", "min_free_gib=0.01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(("all is well\n", "well enough to train\n"))
    (row,) = [line.split() for line in done.stdout.splitlines()[2:3]]
    assert row[1] == "ok"
    assert float(row[5]) > 0
    (written,) = checkout.root.glob("runs/*/gpu-check/node-0.json")
    assert str(checkout.root / "runs") in {entry["path"] for entry in json.loads(written.read_text())["paths"]}


def test_while_another_check_is_at_it_the_hint_names_what_this_command_has(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--fresh` is an option of launches."""
    monkeypatch.setattr(workspace, "PACKAGE", checkout.root / "automodel_launch")
    here = workspace.find(str(checkout.root / "env.toml"))
    args = argparse.Namespace(profile="local", overrides=["min_free_gib=0.01"])
    plan = doctor_job._plan(here, profiles.load(here.env_file, "local"), args)
    record = replace(record_of(plan, {}), job_id=f"{plan.run_name}.7")  # which this process is submitting
    assert claims.make(record, None, LOCAL) is not None
    done = checkout.run("doctor", "--gpu", "local", *args.overrides)
    assert done.returncode == 3, done.stderr
    assert f"{plan.run_name}.7 of this run" in done.stderr
    assert "--fresh" not in done.stderr and "attach JOB" in done.stderr
