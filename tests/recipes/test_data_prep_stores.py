"""recipes/data_prep.py: input in an object store, a real S3 server on loopback, and on a web server."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LIMIT_S
from tests.recipes.data_prep_fixtures import (  # type: ignore[import-not-found, unused-ignore]
    RECIPE,
    command,
    config,
    digests,
    documents,
    output,
    prepare,
    run,
    start,
    write_jsonl,
)
from tests.recipes.object_store import (
    READER,
    READERS_SECRET,
    SECRET,
    Between,
    ObjectStore,
    environ,
    running,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with running(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module")
def corpus(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSONL, plain and compressed, parquet, odd names and what is no data; in the bucket `corpus`, and as files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = tmp_path_factory.mktemp("corpus")
    write_jsonl(root / "web" / "a b+c=%20ä.jsonl", documents(150, "a"))
    write_jsonl(root / "web" / "deep" / "b.jsonl", documents(90, "b"))
    (root / "web" / "deep" / "c.jsonl.gz").write_bytes(gzip.compress((root / "web/deep/b.jsonl").read_bytes()))
    write_jsonl(root / "web" / ".hidden.jsonl", documents(5, "hidden"))
    (root / "web" / "README.md").write_text("no data")
    (root / "books").mkdir()
    table = pa.table({"id": ["x" * 4000] * 200, "text": documents(200, "p")})
    pq.write_table(table, root / "books" / "p.parquet", row_group_size=40)
    (root / "web" / "empty.jsonl").write_bytes(b"")
    write_jsonl(root / "website" / "other.jsonl", documents(3, "no part of web"))
    write_jsonl(root / "odd" / "x*[y].jsonl", documents(80, "odd"))
    store.put("corpus", {"web/folder/": b""})  # as consoles put down for a folder
    store.put("corpus", {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()})
    return root


def sources(base: str) -> list[dict[str, Any]]:
    paths = {"web": "web", "books": "books/*.parquet", "odd": "odd/x*[y].jsonl"}
    return [{"name": name, "path": f"{base}/{path}"} for name, path in paths.items()]


def look(values: dict[str, Any], tmp: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """What the launcher's dry run is told."""
    done = subprocess.run(_look(values, tmp), capture_output=True, text=True, env=env, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["findings"] = [f for f in found["findings"] if f["code"] != "data-prep-separator"]
    return found


PATIENT = """
import dataclasses, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv.pop(0))
from data_prep_lib import stores
stores.LOOK = dataclasses.replace(stores.LOOK, whole=240.0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A look that does not give up a store after four seconds, which it may well take on a busy machine."""


def _look(values: dict[str, Any], tmp: Path) -> list[str]:
    python, recipe, *rest = command(values, tmp)
    return [python, "-c", PATIENT, str(RECIPE.parent), recipe, "look", *rest]


def test_of_a_store_it_is_what_the_files_hold(store: ObjectStore, corpus: Path, tmp_path: Path) -> None:
    remote = config(tmp_path, "", datasets=sources("s3://corpus"))
    before = look(remote, tmp_path, store.environ)
    assert not [f for f in before["findings"] if f["level"] != "note"], before["findings"]
    local = remote | {"datasets": sources(str(corpus)), "output_dir": str(tmp_path / "local")}
    here = look(local, tmp_path, store.environ)
    assert before["sources"] == here["sources"] and before["total"]["tokens"] == here["total"]["tokens"]

    first = prepare(remote, tmp_path, env=store.environ)
    prepare(local, tmp_path)
    assert digests(tmp_path / "out") == digests(tmp_path / "local")
    assert before["output"] == str(output(tmp_path / "out"))
    assert "README.md: left out" in first.stderr and SECRET not in first.stderr
    record = (output(tmp_path / "out") / "record.json").read_text()
    assert "s3://corpus/web/a b+c=%20ä.jsonl" in record and SECRET not in record
    assert "nothing to do" in prepare(remote, tmp_path, env=store.environ).stderr


def test_a_replaced_object_is_another_input(store: ObjectStore, tmp_path: Path) -> None:
    texts = documents(60, "r")
    line = write_jsonl(tmp_path / "one.jsonl", texts).read_bytes()
    store.put("replaced", {"one.jsonl": line})
    values = config(tmp_path, "s3://replaced/one.jsonl", num_shards=1)
    prepare(values, tmp_path, env=store.environ)
    first = output(tmp_path / "out")
    store.put("replaced", {"one.jsonl": line.replace(b"r59 ", b"r99 ")})  # of the same size
    prepare(values, tmp_path, env=store.environ)
    assert output(tmp_path / "out") != first
    store.put("replaced", {"one.jsonl": line})
    assert "nothing to do" in prepare(values, tmp_path, env=store.environ).stderr
    assert output(tmp_path / "out") == first


@pytest.fixture
def between(store: ObjectStore) -> Iterator[Between]:
    with Between(store).running() as broken:
        yield broken


def test_errors_of_the_server_and_broken_transfers_are_repeated(
    store: ObjectStore, corpus: Path, between: Between, tmp_path: Path
) -> None:
    """Of four of the first requests one is answered by 500, one ends in the middle and one before its first byte."""
    between.rule = lambda *_: {1: 500, 2: 0.4, 3: 0.0}.get(len(between.asked) % 4) if len(between.asked) < 24 else None
    values = config(tmp_path, "", datasets=sources("s3://corpus")[1:], workers=1)
    prepare(values, tmp_path, env=between.environ)
    ranges = [part for _, _, part in between.asked if part]
    assert len(ranges) > len(set(ranges)) > 4
    between.rule = lambda *_: None
    plain = values | {"output_dir": str(tmp_path / "plain")}
    prepare(plain, tmp_path, env=between.environ)
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


def test_an_object_that_is_replaced_while_it_is_read(store: ObjectStore, between: Between, tmp_path: Path) -> None:
    big = write_jsonl(tmp_path / "big.jsonl", documents(4000, "z")).read_bytes()
    assert len(big) > 1 << 20  # more than is read at once in the beginning
    store.put("moving", {"big.jsonl": big})
    ranges: list[str] = []

    def rule(method: str, path: str, part: str) -> None:
        ranges.append(part)
        if part and not part.startswith("bytes=0-"):  # after the first block
            store.put("moving", {"big.jsonl": big.replace(b"z3999 ", b"z9999 ")})

    between.rule = rule
    values = config(tmp_path, "s3://moving/big.jsonl", num_shards=1, on_error="skip")
    said = prepare(values, tmp_path, code=2, env=between.environ).stderr
    assert "s3://moving/big.jsonl: it changed while it was read" in said, said
    assert not (tmp_path / "out" / "latest").exists() and not list((tmp_path / "out").rglob("*.bin"))
    assert "finished" not in said or len(ranges) > 2


HALF_IMPORTED = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from data_prep_lib import stores
def ask():
    sys.stdout.write(stores.store("https://h/x").get("y") + "\\n")  # in one piece, unlike print
threads = [threading.Thread(target=ask) for _ in range(2)]
threads[0].start()
while "obstore.store" not in sys.modules:
    time.sleep(0.01)
threads[1].start()
"""


def test_two_threads_that_are_the_first_to_ask(tmp_path: Path) -> None:
    """A stand-in for obstore that is slow to import behind its module `store`, as the real one is on a busy machine."""
    (tmp_path / "obstore").mkdir()
    package = "from obstore.store import HTTPStore\nimport time\ntime.sleep(1)\n"
    package += "def get(key):\n    return f'got {key}'\n"
    (tmp_path / "obstore" / "__init__.py").write_text(package)
    own = "import obstore\n\n\nclass HTTPStore:\n    from_url = classmethod(lambda cls, url, **_: cls())\n\n"
    own += "    def get(self, key):\n        return obstore.get(key)\n\n\nGCSStore = S3Store = HTTPStore\n"
    (tmp_path / "obstore" / "store.py").write_text(own)
    command = [sys.executable, "-c", HALF_IMPORTED, str(RECIPE.parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.stdout.split(), done.stderr) == (["got", "y"] * 2, "")


REFUSED = [
    ({}, "s3://corpus/nothing.jsonl", ["no object", "s3://corpus/nothing.jsonl"]),
    ({}, "s3://corpus/web/*.csv", ["no object matches it"]),
    ({}, "s3://corpus/web/../books", ["a key with an empty part, '.' or '..'"]),
    ({}, "s3://no-such-bucket/a.jsonl", ["no bucket 'no-such-bucket'"]),
    ({}, "s3://no-such-bucket/", ["no bucket 'no-such-bucket'"]),
    ({"AWS_SECRET_ACCESS_KEY": "x"}, "s3://corpus/web", ["403 SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not"]),
    ({"AWS_ACCESS_KEY_ID": "x"}, "s3://corpus/web", ["403 InvalidAccessKeyId", "does not know AWS_ACCESS_KEY_ID"]),
    (
        {"AWS_ACCESS_KEY_ID": READER, "AWS_SECRET_ACCESS_KEY": READERS_SECRET},
        "s3://corpus/web",
        ["403 AccessDenied", "do not allow it"],
    ),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://corpus/web", ["http://127.0.0.1:9", "connection refused"]),
]


def test_what_a_store_refuses_is_said_before_the_job(store: ObjectStore, corpus: Path, tmp_path: Path) -> None:
    """All at once, in one look a kind of credentials: an error names the dataset's address, its reason and a remedy."""
    for changes in {json.dumps(case[0]): case[0] for case in REFUSED}.values():
        cases = [case for case in REFUSED if case[0] == changes]
        datasets = [{"name": f"d{i}", "path": path} for i, (_, path, _) in enumerate(cases)]
        found = look(config(tmp_path, "", datasets=datasets), tmp_path, store.environ | changes)["findings"]
        assert [f["code"] for f in found] == ["data-prep-input"] * len(cases), found
        for (_, path, words), finding in zip(cases, found, strict=True):
            text = f"{finding['message']} {finding['fix']}"
            assert all(word in text for word in [path, *words]), text
            assert finding["fix"] and "Debug" not in text and "<" not in text


def test_without_credentials_a_look_says_so_and_asks_nobody(between: Between, tmp_path: Path) -> None:
    env = {k: v for k, v in between.environ.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_EC2_METADATA_DISABLED")}
    env["HOME"] = str(tmp_path)
    found = look(config(tmp_path, "s3://corpus/web"), tmp_path, env)["findings"]
    assert [(f["level"], f["code"]) for f in found] == [("note", "data-prep-not-looked-at")], found
    assert "no credentials" in found[0]["message"] and not between.asked
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = x\naws_secret_access_key = {SECRET}\n"
    )
    found = look(config(tmp_path, "s3://corpus/web"), tmp_path, env)["findings"]
    assert "InvalidAccessKeyId" in found[0]["message"] and between.asked


ANSWERS = [
    (403, "<Error><Code>ExpiredToken</Code></Error>", "the session token has expired"),
    (301, "<Error><Code>PermanentRedirect</Code></Error>", "in another region"),
    (
        400,
        "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
        "AWS_REGION=eu-west-1",
    ),
    (503, "<Error><Code>SlowDown</Code></Error>", "503 SlowDown, again and again"),
]


@pytest.mark.parametrize(("status", "body", "words"), ANSWERS)
def test_answers_that_this_server_does_not_give(status: int, body: str, words: str) -> None:
    from data_prep_lib.store_errors import told

    error = RuntimeError(f"Error performing GET http://h/b/k - Server returned non-2xx status code: {status} X: {body}")
    said = str(told(error, "s3://b/k", "http://h"))
    assert words in said and said.startswith("s3://b/k: ") and "\n  " in said and "<" not in said


def test_a_web_server(store: ObjectStore, between: Between, tmp_path: Path) -> None:
    """A file by its address; what is not there, or may hold a secret, is refused."""
    line = write_jsonl(tmp_path / "w.jsonl", documents(80, "w")).read_bytes()
    store.put("public", {"dir/w x.jsonl.gz": gzip.compress(line)})
    store.put("open", {"w.jsonl": line})
    public = config(tmp_path, f"{between.address}/public/dir/w%20x.jsonl.gz", num_shards=1)
    prepare(public, tmp_path, env=between.environ)
    counts = json.loads((output(tmp_path / "out") / "record.json").read_text())["counts"]["web"]
    assert sum(split["documents"] for split in counts.values()) == 80

    paths = {f"{between.address}/open/w.jsonl": "403 AccessDenied", f"{between.address}/public/x.jsonl": "not there"}
    datasets = [{"name": f"d{i}", "path": path} for i, path in enumerate(paths)]
    found = look(public | {"datasets": datasets}, tmp_path, between.environ)["findings"]
    assert all(words in f["message"] for words, f in zip(paths.values(), found, strict=True)), found
    wrong = public | {"output_dir": "s3://corpus/out"}
    assert "upload: s3://corpus/out" in prepare(wrong, tmp_path, code=2).stderr
    for path, word in (("https://h/a?X-Amz-Signature=abc", "may hold a secret"), ("ftp://h/a", "one of")):
        wrong = public | {"datasets": [{"name": "web", "path": path}]}
        said = prepare(wrong, tmp_path, code=2).stderr
        assert word in said and "abc" not in said


def test_an_output_goes_to_the_store_and_back(store: ObjectStore, between: Between, tmp_path: Path) -> None:
    """record.json comes last; after an error in between the rest follows; fetched, it names its own files, from the
    first moment on."""
    store.put("open", {"ready": b"1"})
    write_jsonl(tmp_path / "u.jsonl", documents(120, "u"))
    values = config(tmp_path, tmp_path / "u.jsonl") | {"upload": "s3://open/sets"}
    refused = environ(store.address, READER, READERS_SECRET)
    said = prepare(values, tmp_path, code=2, env=refused).stderr
    assert "s3://open/sets: " in said and "403 AccessDenied" in said and not list((tmp_path / "out").rglob("*.bin"))

    between.rule = lambda method, path, _: 403 if method == "PUT" and path.endswith("blend.json") else None
    said = prepare(values, tmp_path, code=2, env=between.environ).stderr
    assert "blend.json" in said and SECRET not in said
    name = output(tmp_path / "out").name
    sent = [path for method, path, _ in between.asked if method == "PUT"]
    assert sum(path.endswith(".bin") for path in sent) >= 3 and not any(path.endswith("record.json") for path in sent)
    fetch = [sys.executable, str(RECIPE), "fetch", f"s3://open/sets/{name}", str(tmp_path / "there")]
    early = run(fetch, env=between.environ)
    assert early.returncode == 2 and "no complete output" in early.stderr

    between.rule = lambda *_: None
    between.asked.clear()
    assert "0 of " in prepare(values, tmp_path, env=between.environ).stderr
    sent = [path for method, path, _ in between.asked if method == "PUT"]
    assert [path.rpartition("/")[2] for path in sent] == [".data-prep", "blend.json", "record.json"]
    held, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str, _: str) -> None:
        if method == "GET" and path.endswith(".bin"):
            held.set()
            go_on.wait(LIMIT_S)

    between.rule = hold
    with subprocess.Popen(fetch, stderr=subprocess.DEVNULL, env=between.environ) as killed:
        assert held.wait(LIMIT_S)
        beside = run(fetch, env=store.environ)
        killed.kill()
    go_on.set()
    assert (beside.returncode, "another run is writing to" in beside.stderr) == (1, True), beside.stderr
    assert list((tmp_path / "there").rglob(".*.tmp"))
    between.rule = lambda method, path, _: 403 if method == "GET" and "record.json" in path else None
    assert run(fetch, env=between.environ).returncode
    blend = json.loads((tmp_path / "there" / name / "blend.json").read_text())
    assert all(entry.startswith(str(tmp_path / "there")) for entry in blend["train"] if "/" in entry)
    between.rule = lambda *_: None
    done = run(fetch, env=between.environ)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "there").rglob(".*.tmp"))
    (tmp_path / "there" / "latest").symlink_to(name)
    assert digests(tmp_path / "there") == digests(tmp_path / "out")


def test_an_empty_directory_is_no_place_to_fetch_to() -> None:
    fetch = [sys.executable, str(RECIPE), "fetch", "s3://open/sets/name", ""]
    done = run(fetch)
    assert (done.returncode, done.stderr.splitlines()[-1].partition("error: ")[2]) == (
        2,
        "argument directory: an empty path",
    )


def test_an_output_of_other_weights_is_fetched_with_its_shards(store: ObjectStore, tmp_path: Path) -> None:
    """data-prep names only the newest as uploaded; its shards lie in the output beside it."""
    datasets = [
        {"name": name, "path": str(write_jsonl(tmp_path / f"{name}.jsonl", documents(40, name)))} for name in "ab"
    ]
    values = config(tmp_path, "", datasets=datasets, num_shards=1, upload="s3://open/weights")
    prepare(values, tmp_path, env=store.environ)
    datasets[0]["weight"] = 3.0  # type: ignore[assignment]
    prepare(values, tmp_path, env=store.environ)
    name = output(tmp_path / "out").name
    fetch = [sys.executable, str(RECIPE), "fetch", f"s3://open/weights/{name}"]
    done = run([*fetch, str(tmp_path / "there")], env=store.environ)
    assert done.returncode == 0, done.stderr
    blend = json.loads((tmp_path / "there" / name / "blend.json").read_text())
    prefixes = [entry for entries in blend.values() for entry in entries if "/" in entry]
    assert len(prefixes) > 2 and all(Path(f"{prefix}.bin").exists() for prefix in prefixes)
    assert all(prefix.startswith(f"{tmp_path}/there/") for prefix in prefixes)

    (tmp_path / "file").touch()
    done = run([*fetch, str(tmp_path / "file")], env=store.environ)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path}/file/"), done.stderr
    assert "Not a directory" in done.stderr and "Traceback" not in done.stderr


def test_a_store_that_is_silent_can_be_interrupted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = environ(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = start(command(config(tmp_path, "s3://corpus/web"), tmp_path), env)
        silent.settimeout(LIMIT_S)
        connection, _ = silent.accept()  # it asks, and waits
        with connection:
            started.send_signal(signal.SIGINT)
            _, said = started.communicate(timeout=LIMIT_S)
    assert started.returncode == 130 and "interrupted by signal 2" in said and "Traceback" not in said, said
