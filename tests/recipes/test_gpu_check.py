"""recipes/gpu_check.py without torch: its schedule, what it reads, and that nothing of it waits for ever.

The whole of it runs in tests/doctor/test_gpu.py (one node) and tests/slurm/test_doctor_gpu.py (two).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.conftest import LIMIT_S, ROOT, wait_for

sys.path.insert(0, str(ROOT / "recipes"))
from gpu_check_lib import bounded, identity, meeting, pairs, paths, ranks, rounds, settings, smi

CONFIG = yaml.safe_load((ROOT / "configs" / "gpu-check" / "default.yaml").read_text())


def _settings(**changes: Any) -> settings.Settings:
    return settings.of({**CONFIG, **changes}, "test")


# --- the tournament


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 128])
def test_every_node_meets_every_other_once_and_one_a_round(count: int) -> None:
    nodes = list(range(0, 2 * count, 2))
    schedule = rounds.schedule(nodes)
    assert len(schedule) == (count - 1 + count % 2 if count > 1 else count % 2)
    met = [pair for played in schedule for pair in played]
    assert sorted(met) == [(a, b) for a in nodes for b in nodes if a < b]
    for played in schedule:
        ends = [end for pair in played for end in pair]
        assert len(ends) == len(set(ends)) == count - count % 2


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    # nccl-tests, doc/PERFORMANCE.md: busbw = S/t * 2*(n-1)/n
    assert rounds.bus_bandwidth(8 * 10**9, 1.0, 8) == pytest.approx(14.0)
    assert rounds.bus_bandwidth(10**9, 0.5, 2) == pytest.approx(2.0)


class _Store:
    """A store within this process; `lag` makes nothing slower, as the polls are short."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value

    def get(self, key: str, limit_s: float) -> str | None:
        end = time.monotonic() + limit_s
        while key not in self.values and time.monotonic() < end:
            time.sleep(0.001)
        return self.values.get(key)

    def size(self) -> int:
        return len(self.values)


class _Ranks:
    """Ranks that measure at once; `mute`: names of groups in which nothing comes."""

    def __init__(self, mute: str = "-") -> None:
        self.count, self.mute = 2, mute

    def ask(self, task: str, words: list[Any], limit_s: float) -> list[dict[str, Any]]:
        if words[0][2].startswith(self.mute):
            return [{"error": "rank 0: no answer within 20 s"}, {"error": "rank 1: its process was killed by signal 6"}]
        assert [own[3] for own in words] in ([0, 1], [2, 3])
        assert {own[4] for own in words} == {4}
        return [{"seconds": 0.5, "bytes": 10**9, "right": True}, {"seconds": 1.0, "bytes": 10**9, "right": True}]


def _guest(node: int, ranks: int = 2, backend: str = "gloo") -> meeting.Guest:
    return meeting.Guest(node, f"c{node}", "a", 1, ranks, backend)


def _play(
    guests: list[meeting.Guest],
    dead: tuple[int, ...] = (),
    end_s: float = 60.0,
    mute: str = "-",
    late: int | None = None,
) -> dict[int, list[Any]]:
    """All nodes but the dead ones play, `late` after 1 s; (peer, GB/s or error) of each."""
    store: Any = _Store()
    results: dict[int, list[Any]] = {}

    def node(own: meeting.Guest) -> None:
        ranked: Any = _Ranks(mute)
        known = {guest.node: guest for guest in guests}
        game = pairs.Tournament(
            own.node, known, store, ranked, _settings(pair_s=0.1), time.monotonic() + end_s, lambda text: None
        )
        found: list[dict[str, Any]] = []
        time.sleep(1.0 if own.node == late else 0.0)
        assert pairs.played(game, lambda results: found.__setitem__(slice(None), results)) is None
        results[own.node] = [(entry["peer"], entry["error"] or entry["gb_s"]) for entry in found]

    threads = [
        threading.Thread(target=node, args=(guest,)) for guest in guests if guest.node not in dead and guest.ranks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return results


def test_all_pairs_are_measured() -> None:
    results = _play([_guest(node) for node in range(5)])
    assert {node: sorted(found) for node, found in results.items()} == {
        node: [(peer, pytest.approx(1.5)) for peer in range(5) if peer != node] for node in range(5)
    }


def test_a_dead_node_costs_its_partners_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who waits for it, while nobody has said that it is gone, is not taken for gone by its own next partner."""
    monkeypatch.setattr(pairs, "_PATIENCE_S", 2.0)
    monkeypatch.setattr(pairs, "_BEAT_S", 0.2)
    (partner,) = (a + b - 2 for a, b in rounds.schedule(list(range(6)))[0] if 2 in (a, b))
    results = _play([_guest(node) for node in range(6)], dead=(2,), late=partner)
    assert all(dict(found)[2] == "gone" for found in results.values())
    assert all(len(found) == 5 and [e for _, e in found].count("gone") == 1 for found in results.values())


def test_a_node_that_cannot_measure_is_left_out_and_backends_do_not_mix() -> None:
    results = _play([_guest(0), _guest(1, ranks=0), _guest(2, backend="nccl"), _guest(3)])
    assert sorted(results[0]) == [(2, "c0 measures over gloo, c2 over nccl"), (3, pytest.approx(1.5))]


def test_no_round_begins_when_time_is_over() -> None:
    assert _play([_guest(node) for node in range(4)], end_s=-1.0) == {node: [] for node in range(4)}


def test_the_error_that_tells_more_is_kept_and_the_game_goes_on() -> None:
    results = _play([_guest(node) for node in range(4)], mute="round/1/")
    assert all("killed by signal 6" in found[1][1] and found[2][1] == pytest.approx(1.5) for found in results.values())


def test_who_comes_too_late_is_told_so() -> None:
    store: Any = _Store()
    assert meeting.meet(store, _guest(0), 3, 0.05) == {0: _guest(0)}
    assert meeting.meet(store, _guest(1), 3, 0.05) is None
    assert len(meeting.clock(store, 0)) == meeting.TICKS
    meeting.leave(store, 0, [0], 0.1)
    meeting.leave(store, 0, [0, 2], 0.1)  # node 2 never says that it is over


# --- processes that do not answer


def test_a_call_that_hangs_is_left_behind() -> None:
    calls = {"good": lambda: 1, "bad": lambda: 1 / 0, "hangs": lambda: time.sleep(600), "dies": lambda: os._exit(3)}
    asked = bounded.Calls(calls, LIMIT_S)
    wait_for(lambda: len(connection.wait(list(asked._open), LIMIT_S)) == 3)
    asked._end = time.monotonic() + 0.1
    assert asked.results() == {"good": 1}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that need no torch, in the place of the real ones; a fork takes them along."""

    def act(rank: int, how: str) -> dict[str, Any]:
        if how == "hang" and rank == 1:
            time.sleep(600)
        if how == "die" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise RuntimeError(f"NCCL error\n and {rank} more lines")
        return {"pid": os.getpid()}

    fake = SimpleNamespace(TASKS={"act": act}, quieten=lambda: None)
    monkeypatch.setitem(sys.modules, "gpu_check_lib.work", fake)
    monkeypatch.setattr("gpu_check_lib.work", fake, raising=False)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("hang", "rank 1: no answer within 0.5 s"),
        ("die", "rank 1: its process was killed by signal 9"),
        ("raise", "RuntimeError: NCCL error"),
    ],
)
def test_ranks_are_made_anew_after_a_failure(work: None, how: str, words: str) -> None:
    group = ranks.Ranks(2)
    before = [answer["pid"] for answer in group.ask("act", [("do",)] * 2, LIMIT_S)]
    assert [answer["pid"] for answer in group.ask("act", [("do",)] * 2, LIMIT_S)] == before
    group.send("act", [(how,)] * 2)
    assert connection.wait([group._processes[0][1]], LIMIT_S)  # the other rank
    error = ranks.error_of(group.gather(0.5 if how == "hang" else LIMIT_S))
    assert error is not None and words in error
    after = [answer["pid"] for answer in group.ask("act", [("do",)] * 2, LIMIT_S)]
    assert not set(before) & set(after)
    group.kill()


# --- what is read


def _xml(body: str) -> str:
    gpu = f'<driver_version>550.54</driver_version><gpu id="0:1B">{body}</gpu>'
    return f'<?xml version="1.0" ?><nvidia_smi_log>{gpu}</nvidia_smi_log>'


HOPPER = """<product_name>NVIDIA H100 80GB HBM3</product_name><persistence_mode>Enabled</persistence_mode>
<clocks_event_reasons><clocks_event_reason_gpu_idle>Not Active</clocks_event_reason_gpu_idle>
<clocks_event_reason_hw_slowdown>Active</clocks_event_reason_hw_slowdown></clocks_event_reasons>
<ecc_errors><volatile><sram_correctable>7</sram_correctable>
<sram_uncorrectable_parity>0</sram_uncorrectable_parity><sram_uncorrectable_secded>1</sram_uncorrectable_secded>
<dram_uncorrectable>2</dram_uncorrectable></volatile>
<aggregate><dram_uncorrectable>90</dram_uncorrectable><sram_threshold_exceeded>Yes</sram_threshold_exceeded></aggregate>
</ecc_errors><retired_pages><pending_retirement>N/A</pending_retirement></retired_pages>
<remapped_rows><remapped_row_pending>Yes</remapped_row_pending><remapped_row_failure>No</remapped_row_failure></remapped_rows>
<gpu_recovery_action>Reset</gpu_recovery_action><temperature><gpu_temp>45 C</gpu_temp></temperature>
<clocks><sm_clock>345 MHz</sm_clock></clocks><max_clocks><sm_clock>1980 MHz</sm_clock></max_clocks>"""
VOLTA = """<product_name>Tesla V100</product_name><persistence_mode>Disabled</persistence_mode>
<clocks_throttle_reasons><clocks_throttle_reason_sw_power_cap>Active</clocks_throttle_reason_sw_power_cap></clocks_throttle_reasons>
<ecc_errors><volatile><single_bit><total>4</total></single_bit><double_bit><device_memory>3</device_memory><total>3</total></double_bit>
</volatile></ecc_errors><retired_pages><multiple_single_bit_retirement><retired_count>1</retired_count></multiple_single_bit_retirement>
<double_bit_retirement><retired_count>2</retired_count></double_bit_retirement><pending_blacklist>Yes</pending_blacklist></retired_pages>"""
GAMER = """<product_name>GeForce</product_name>
<ecc_errors><volatile><dram_uncorrectable>N/A</dram_uncorrectable></volatile></ecc_errors>"""


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (HOPPER, {"ecc_uncorrected": 3, "sram_threshold": True, "pending": True, "recovery": "Reset", "sm_mhz": 345}),
        (HOPPER, {"max_sm_mhz": 1980, "reasons": ["hw_slowdown"], "persistence": True, "temperature": 45}),
        (VOLTA, {"ecc_uncorrected": 3, "pending": True, "retired": 3, "recovery": None, "sm_mhz": None}),
        (VOLTA, {"persistence": False, "reasons": ["sw_power_cap"], "remap_failure": False}),
        (GAMER, {"ecc_uncorrected": None, "pending": False, "persistence": None, "reasons": []}),
    ],
)
def test_what_nvidia_smi_says_of_a_gpu(body: str, known: dict[str, Any]) -> None:
    found = smi.read(_xml(body))
    assert found["driver"] == "550.54"
    (gpu,) = found["gpus"]
    assert {key: gpu[key] for key in known} == known
    assert gpu["bus"] == "0:1B"


HANGS = "exec sleep 60"


@pytest.mark.parametrize(
    ("script", "found", "error", "gpus"),
    [
        (None, False, None, 0),
        ("echo 'NVIDIA-SMI has failed'; exit 9", True, "nvidia-smi: NVIDIA-SMI has failed", 0),
        (f"cat <<'E'\n{_xml(GAMER)}\nE\necho 'GPU is lost' >&2; exit 15", True, "nvidia-smi: GPU is lost", 1),
        (f"cat <<'E'\n{_xml(GAMER)}\nE", True, None, 1),
        (HANGS, True, "nvidia-smi: no answer within 1 s", 0),
    ],
)
def test_an_nvidia_smi_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, found: bool, error: str | None, gpus: int
) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    limit_s = 1.0 if script == HANGS else LIMIT_S
    answer = smi.answer(smi.start(limit_s), limit_s)
    assert (answer["found"], answer["error"], len(answer["gpus"])) == (found, error, gpus)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    wanted = [str(tmp_path), "$SCRATCH/file", "/proc", "/proc/none", f"{tmp_path}/none"]
    found = paths.probe(({"path": "/proc", "write": False}, *({"path": path} for path in wanted)), LIMIT_S)
    errors = [entry["error"] for entry in found[:6]]
    assert errors[:3] == [None, None, None]
    assert [(error or "").partition(":")[0] for error in errors[3:]] == ["not writable", "not there", "not there"]
    assert found[1]["free"] > 0
    assert {entry["path"] for entry in found[6:]} <= set(paths.ALWAYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_path_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "facts", lambda path, write: time.sleep(60))
    assert {entry["error"] for entry in paths.probe(({"path": "/"},), 0.3)} == {"no answer within 0.3 s"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "t.yaml"),
        ("3", "not a mapping"),
        ("ranks: 1", "meet_s"),
        ("{ranks: 0}", "ranks = 0"),
        ("{paths: [3]}", "paths"),
        (None, "No such file"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "t.yaml"
    if text and text.startswith("{"):
        path.write_text(yaml.safe_dump({**CONFIG, **yaml.safe_load(text)}))
    elif text:
        path.write_text(text)
    with pytest.raises(settings.SettingsError, match=words):
        settings.load(path)


def test_who_this_node_is() -> None:
    environ = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "c1", "MASTER_PORT": "20007", "SLURMD_NODENAME": "c2"}
    found = identity.of({**environ, "SLURM_JOB_NODELIST": "c[1-3]"})
    assert (found.node, found.nodes, found.host, found.hosts) == (1, 3, "c2", ("c1", "c2", "c3"))
    assert (found.master, found.port) == ("c1", 20007)
    assert identity.of({**environ, "SLURM_JOB_NODELIST": "c[1-2]"}).hosts == ()
    assert (identity.of({}).nodes, identity.of({}).port) == (1, None)
    assert identity.own_address("127.0.0.1", 1) == "127.0.0.1"
