"""curate.py: stages of the real datatrove, on one process and on two; what is refused, and what goes on."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.conftest import LIMIT_S, ROOT, wait_for

pytest.importorskip("datatrove", reason="setup.sh --dev installs it")

RECIPE = [sys.executable, str(ROOT / "recipes" / "curate.py")]
FILTERS = "datatrove.pipeline.filters"
READER, WRITER = "datatrove.pipeline.readers.JsonlReader", "datatrove.pipeline.writers.JsonlWriter"
OWN = '''
import pathlib, time
from datatrove.pipeline.base import PipelineStep
class Held(PipelineStep):
    """Holds or fails while a file says so."""
    type, name = "FILTER", "held"
    def __init__(self, said):
        super().__init__()
        self.said = said
    def run(self, data, rank=0, world_size=1):
        for document in data:
            said = pathlib.Path(self.said).read_text()
            if said == f"fail {rank}":
                raise ValueError(f"no good: {document.text}")
            while said == f"hold {rank}":
                pathlib.Path(self.said + ".held").touch()
                time.sleep(0.1)
            yield document
'''


def place(tmp_path: Path, own: bool = False, tasks: int = 2, pattern: str = "nonsense") -> dict[str, Any]:
    """Four files of three documents, one of which is nonsense; the config that filters them."""
    corpus = tmp_path / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        for file in "abcd":
            rows = [{"text": f"{file}{n} " + ("nonsense" if n == 2 else "sense")} for n in range(3)]
            (corpus / f"{file}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (tmp_path / "own_steps.py").write_text(OWN)
        (tmp_path / "said").write_text("go")
    output = str(tmp_path / "out")
    steps: list[dict[str, Any]] = [{"_target_": READER, "data_folder": str(corpus)}]
    steps.append({"_target_": f"{FILTERS}.RegexFilter", "regex_exp": pattern})
    if own:
        steps.append({"_target_": f"{tmp_path}/own_steps.py:Held", "said": str(tmp_path / "said")})
    steps.append({"_target_": WRITER, "output_folder": f"{output}/text"})
    return {"output_dir": output, "workers": 1, "stages": [{"name": "filter", "tasks": tasks, "pipeline": steps}]}


def write(tmp_path: Path, config: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return path


def curate(tmp_path: Path, config: Any, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*RECIPE, "--config", str(write(tmp_path, config))]
    return warm.run(command, os.environ | environ, Path.cwd(), LIMIT_S, server=warm.CURATE)


def started(config: Path, **environ: str) -> warm.Process:
    return warm.start([*RECIPE, "--config", str(config)], os.environ | environ, Path.cwd(), server=warm.CURATE)


def texts(tmp_path: Path) -> list[str]:
    found = [gzip.decompress(path.read_bytes()) for path in (tmp_path / "out/text").iterdir()]
    return sorted(json.loads(line)["text"] for text in found for line in text.splitlines())


KEPT = sorted(f"{file}{n} sense" for file in "abcd" for n in range(2))


def test_a_pipeline_and_what_it_is_begun_with(tmp_path: Path) -> None:
    done = curate(tmp_path, place(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out\n"
    assert "Regex: 12 in, 8 kept, 4 dropped" in done.stderr
    assert texts(tmp_path) == KEPT
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert record["stages"][0]["steps"][1]["counts"] == {"total": 12, "forwarded": 8, "dropped": 4, "doc_len": 64}

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/text").iterdir()}
    assert curate(tmp_path, place(tmp_path)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/text").iterdir()} == before

    other = curate(tmp_path, place(tmp_path, tasks=3))
    assert other.returncode == 3
    assert "was begun with other values of: stage filter\n  output_dir=ANOTHER" in other.stderr

    begun, stats = tmp_path / "out/.curate/begun.json", tmp_path / "out/.curate/filter/stats/00001.json"
    told = stats.read_text()
    stats.write_text(told[:40])  # a machine's end; nothing is told of a part
    half = curate(tmp_path, place(tmp_path))
    assert half.returncode == 3 and "00001.json is damaged" in half.stderr, half.stderr
    stats.write_text(told)
    known = begun.read_text()
    for content, said in ((known[:40], "cannot be read"), (None, "is gone")):  # never taken for a new one
        begun.unlink() if content is None else begun.write_text(content)
        unknown = curate(tmp_path, place(tmp_path, tasks=3))
        assert unknown.returncode == 3 and f"begun.json {said}, so with what was it begun?" in unknown.stderr
    begun.write_text(known)
    (tmp_path / "corpus/e.jsonl").write_text('{"text": "later"}\n')
    other = curate(tmp_path, place(tmp_path))
    assert other.returncode == 3
    assert "other values of: the input of stages[0].pipeline[0]" in other.stderr
    assert texts(tmp_path) == KEPT


def test_what_failed_goes_on_with_what_is_left(tmp_path: Path) -> None:
    config = place(tmp_path, own=True)
    (tmp_path / "said").write_text("fail 1")
    failed = curate(tmp_path, config)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-2:]
    assert last[0] == "error: stage filter: ValueError: no good: b0 sense"
    assert last[1] == f"  the tasks' logs are in {tmp_path}/out/.curate/filter; finished tasks are kept"
    first = tmp_path / "out/text/00000.jsonl.gz"
    before = first.stat().st_mtime_ns

    (tmp_path / "said").write_text("hold 1")
    held = started(write(tmp_path, config))
    wait_for((tmp_path / "said.held").exists)
    held.send_signal(signal.SIGTERM)
    assert "finished tasks are kept" in held.communicate()[1]
    assert held.returncode == 143

    (tmp_path / "said").write_text("go")
    done = curate(tmp_path, config)
    assert done.returncode == 0, done.stderr
    assert first.stat().st_mtime_ns == before
    assert texts(tmp_path) == KEPT


def test_two_nodes_share_a_stages_tasks(tmp_path: Path) -> None:
    config = write(tmp_path, place(tmp_path, tasks=3))
    processes = [started(config, RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "tasks 0 to 0 of 3" in said[0]
    assert "tasks 1 to 2 of 3" in said[1]
    assert texts(tmp_path) == KEPT


def test_what_readers_pass_over_is_told_and_two_runs_are_not_mixed(tmp_path: Path) -> None:
    """datatrove's readers pass over what they cannot read; it is in no count of theirs."""
    config = place(tmp_path, own=True)
    bad = '{"text": "e0 sense"}\n{"text": "cut off\n{"content": "other"}\n'
    (tmp_path / "corpus/e.jsonl").write_text(bad)
    (tmp_path / "corpus/f.jsonl").write_bytes(b'{"text": "f0 sense"}\n{"text": "\xff"}\n')
    (tmp_path / "said").write_text("hold 0")
    command = [*RECIPE, "--config", str(write(tmp_path, config))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as held:
        try:
            wait_for((tmp_path / "said.held").exists)
            other = curate(tmp_path, config)
        finally:
            held.terminate()
    assert other.returncode == 1
    assert f"error: output_dir: another run is writing to {tmp_path}/out\n" in other.stderr, other.stderr
    (tmp_path / "said").write_text("go")
    done = curate(tmp_path, config)
    assert done.returncode == 0, done.stderr
    left = json.loads((tmp_path / "out/record.json").read_text())["stages"][0]["left_out"]
    assert left["count"] == 3 and "e.jsonl" in left["first"], left
    assert f"warning: 3 times its readers left out a part of their input, the first: {left['first']}" in done.stderr


def test_nothing_left_is_no_success(tmp_path: Path) -> None:
    done = curate(tmp_path, place(tmp_path, pattern="sense"))
    assert done.returncode == 2
    assert "no document is left after stage filter" in done.stderr


def looked(tmp_path: Path, config: Any) -> list[tuple[str, str]]:
    command = [*RECIPE, "look", "--config", str(write(tmp_path, config))]
    done = warm.run(command, os.environ, Path.cwd(), LIMIT_S, server=warm.CURATE)
    assert done.returncode == 0 and not (tmp_path / "out").exists(), done.stderr
    return [(entry["code"], entry["message"]) for entry in json.loads(done.stdout)["findings"]]


def test_what_the_job_would_refuse_is_told_before(tmp_path: Path) -> None:
    assert looked(tmp_path, place(tmp_path, own=True)) == []
    config = place(tmp_path)
    stage = config["stages"][0]
    stage["pipeline"] = [
        {"_target_": READER, "data_foldr": "/nowhere"},
        {"_target_": READER, "data_folder": "/nowhere"},
        {"_target_": f"{FILTERS}.RegexFiltr", "regex_exp": "a"},
        {"_target_": f"{FILTERS}.RegexFilter", "regex_exp": "("},
        {"_target_": "no_such_package.Step"},
    ]
    key = "stages[0].pipeline"
    assert looked(tmp_path, config) == [
        (
            "curate-config",
            f"{key}[0]: {READER}: got an unexpected keyword argument 'data_foldr'; did you mean 'data_folder'?",
        ),
        ("curate-config", f"{key}[2]: {FILTERS}.RegexFiltr: {FILTERS} has no RegexFiltr; did you mean 'RegexFilter'?"),
        ("curate-config", f"{key}[3]: {FILTERS}.RegexFilter: missing ), unterminated subpattern at position 0"),
        ("curate-config", f"{key}[4]: no_such_package.Step: no_such_package is not installed"),
        ("curate-config", f"no step writes below output_dir, {tmp_path}/out"),
        ("curate-input", f"{key}[1].data_folder: /nowhere: no such directory"),
    ]
    stage["pipeline"] = [{"_target_": READER, "data_folder": f"/{'x' * 300}"}]
    assert ("curate-input", f"{key}[0].data_folder: /{'x' * 300} cannot be listed: File name too long") in looked(
        tmp_path, config
    )
    corpus = {"_target_": READER, "data_folder": f"{tmp_path}/corpus"}
    (tmp_path / "names").write_bytes(b"\xff.jsonl\n")
    no_utf_8 = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    stage["pipeline"] = [
        corpus | {"data_folder": f"{tmp_path}/corpus/a.jsonl"},  # datatrove reads that
        corpus | {"glob_pattern": "*.parquet"},
        corpus | {"glob_pattern": "[ab].jsonl"},
        corpus | {"data_folder": str(tmp_path), "recursive": False},
        corpus | {"paths_file": "/nowhere.txt"},
        corpus | {"paths_file": f"{tmp_path}/names"},
        corpus | {"glob_pattern": "a**b"},
        corpus | {"data_folder": f"{tmp_path}/said/x"},
        {"_target_": WRITER, "output_folder": f"{tmp_path}/out/text"},
    ]
    assert looked(tmp_path, config) == [
        ("curate-input", f"{key}[1].data_folder: no files in {tmp_path}/corpus that match '*.parquet'"),
        (
            "curate-input",
            f"{key}[3].data_folder: {tmp_path}/config.json: none of its first 1 rows has text under 'text';"
            " they have: output_dir, stages, workers",
        ),
        ("curate-input", f"{key}[4].paths_file: /nowhere.txt cannot be read: No such file or directory"),
        ("curate-input", f"{key}[5].paths_file: {tmp_path}/names cannot be read: {no_utf_8}"),
        ("curate-input", f"{key}[6].glob_pattern: 'a**b': Invalid pattern: '**' can only be an entire path component"),
        ("curate-input", f"{key}[7].data_folder: {tmp_path}/said/x: no such directory"),
    ]
    stage["pipeline"][0] = {"_target_": READER, "exclusion": {"output_folder": "~no-such-user/x"}}
    told = f"{key}[0].exclusion.output_folder: ~no-such-user/x: ~no-such-user is no home directory here"
    assert looked(tmp_path, config) == [("curate-config", told)]
    stage["taks"] = 3
    assert looked(tmp_path, config)[0][1] == "stages[0].taks: unknown key; did you mean 'tasks'?"


def test_paths_are_taken_as_data_prep_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home directory, what is relative lies below the working directory; what is absolute stays."""
    config = place(tmp_path)
    reader, writer = config["stages"][0]["pipeline"][0], config["stages"][0]["pipeline"][-1]
    reader["data_folder"], config["output_dir"], writer["output_folder"] = "~/corpus", "~/out", "out/text"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert looked(tmp_path, config) == []
    done = curate(tmp_path, config)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out\n"), done.stderr
    assert texts(tmp_path) == KEPT
    config["output_dir"], writer["output_folder"] = f"{tmp_path}/out/", f"{tmp_path}/out/text"
    assert curate(tmp_path, config).returncode == 0  # the same output
    config["output_dir"] = "s3://bucket/out"
    refused = curate(tmp_path, config)
    assert refused.returncode == 2 and "s3://bucket/out is no directory" in refused.stderr, refused.stderr


def test_a_look_on_a_machine_that_is_no_linux(tmp_path: Path) -> None:
    """Where Python has no sched_getaffinity, and a config's `workers` is left to the machine."""
    config = place(tmp_path) | {"workers": None}
    code = f"import os; del os.sched_getaffinity; import sys; sys.path.insert(0, {str(ROOT / 'recipes')!r})\n"
    code += "import curate; sys.exit(curate.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "look", "--config", str(write(tmp_path, config))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["findings"] == [], done.stderr
