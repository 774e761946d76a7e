"""Known errors: each by recorded words, and none by words that only look like it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.recorded_errors import LOGGED, RECORDED

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

from node_agent_lib import bad_nodes, evidence, known

EVERY = [signature for _, group in known.GROUPS for signature in group]


def never(line: str) -> bool:
    """No line is a step."""
    return False


def stepping(line: str) -> bool:
    """A step's line of AutoModel."""
    return line.startswith("step ")


@pytest.mark.parametrize("signature", EVERY, ids=lambda signature: signature.id)
def test_each_is_known_by_recorded_words(signature: known.Signature) -> None:
    recorded, logged = RECORDED.get(signature.id, ()), LOGGED.get(signature.id, ())
    assert recorded or logged, "no recorded words"
    for words in (*recorded, *logged):
        found = known.of_error(words)
        assert found is not None, words
        assert found.id == signature.id, words
    for words in logged:
        found = known.of_line(words)
        assert found is not None, words
        assert found.id == signature.id, words


def test_the_table_is_whole() -> None:
    assert len(EVERY) >= 60
    assert len({signature.id for signature in EVERY}) == len(EVERY)
    assert {*RECORDED, *LOGGED} == {signature.id for signature in EVERY}
    for signature in EVERY:
        assert signature.role in known.ROLES
        assert signature.restart in known.RESTARTS
        assert re.compile(signature.said).groups == 0, signature.id  # they are alternatives of one expression
        assert signature.cause and signature.todo
        assert signature.role == known.ROOT or signature.restart != known.CANNOT  # that has to be certain


@pytest.mark.parametrize(
    "line",
    [
        "CUDA out of memory, trying again with half the batch",
        "handled: RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "INFO:root:No space left on device is what we would see",
        "2026-11-27 02:07:08 | WARNING | data | Connection reset by peer, retrying",
        "/usr/lib/python3/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: The NVIDIA driver on your "
        "system is too old (found version 11040).",
        "[W321 02:07:08.408271257 socket.cpp:752] [c10d] The client socket has failed to connect to [gpu01]:29500",
        "[rank0]:[W321 02:07:08.408271257 ProcessGroupNCCL.cpp:1250] Warning: process group has NOT been destroyed",
        "gpu07:4711:4790 [3] NCCL INFO NET/IB : Got completion from peer",
        "prompt: What does `torch.OutOfMemoryError: CUDA out of memory` mean?",
        "The kernel said NVRM: Xid (PCI:0000:1b:00): 79, which means that a GPU has fallen off the bus",
        "step 41 | epoch 0 | loss 2.31 | note Segmentation fault",
        "checking for Errno 28: No space left on device ... ok",
        "",
    ],
)
def test_words_that_are_no_error_of_their_own(line: str) -> None:
    assert known.of_line(line) is None
    assert evidence.of_rank("ValueError: no such key", "Traceback ...\nValueError: no such key", [line], never) is None


def test_what_has_left_the_script_is_what_ended_it() -> None:
    """A handled error stands in the log in the very form of a real one."""
    handled = [
        "Traceback (most recent call last):",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB",
        "going on with a smaller batch",
    ]
    assert evidence.of_rank("ValueError: bad key", "Traceback ...\nValueError: bad key", handled, never) is None


def test_an_error_before_the_last_step_did_not_end_it() -> None:
    before = "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB"
    lines = [before, "step 7 | epoch 0 | loss 2.0", "bye"]
    assert evidence.in_lines([before, "bye"], stepping) is not None
    assert evidence.in_lines(lines, stepping) is None
    killed = evidence.of_rank("killed by SIGKILL", None, lines, stepping)
    assert killed is not None
    assert killed.signature.id == "killed"


def test_the_log_tells_what_an_exception_does_not() -> None:
    error = RECORDED["nccl-failed"][0]
    log = ["fine", LOGGED["gpu-ecc"][0], LOGGED["nccl-timeout"][0]]
    found = evidence.of_rank(error, f"Traceback ...\n{error}", log, never)
    assert found is not None
    assert (found.signature.id, found.line) == ("gpu-ecc", LOGGED["gpu-ecc"][0])


def test_nccls_own_reason_stands_on_the_next_line() -> None:
    error = "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error"
    trace = f"Traceback ...\n{error}\nncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure "
    found = evidence.of_rank(error, trace + "'out of memory'", [], never)
    assert found is not None
    assert found.signature.id == "gpu-memory"


def test_an_exception_made_from_another_one_has_its_cause() -> None:
    trace = (
        "Traceback (most recent call last):\n  File a\n"
        "OSError: [Errno 122] Disk quota exceeded: '/home/me/x'\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n  File b\nmylib.SaveFailure: the save failed"
    )
    found = evidence.of_rank("mylib.SaveFailure: the save failed", trace, [], never)
    assert found is not None
    assert found.signature.id == "disk-quota"
    other = trace.replace("was the direct cause of the following exception", "was handled, another one occurred")
    assert evidence.of_rank("mylib.SaveFailure: the save failed", other, [], never) is None


def test_abort_is_the_end_of_what_was_printed_before() -> None:
    found = evidence.of_rank("killed by SIGABRT: frame #7: clone + 0x43", None, LOGGED["nccl-timeout"], never)
    assert found is not None
    assert found.signature.id == "nccl-timeout"
    found = evidence.of_rank("killed by SIGABRT", None, ["frame #7: clone + 0x43"], never)
    assert found is not None
    assert found.signature.id == "abort"


def test_who_accuses_a_node() -> None:
    blamed = {signature.id for signature in EVERY if signature.blames_node}
    assert {"gpu-ecc", "gpu-lost", "xid-48", "xid-64", "xid-74", "xid-79", "xid-95", "xid-gsp"} <= blamed
    assert not blamed & {
        "gpu-memory",
        "gpu-assert",
        "xid-63",
        "xid-94",
        "xid-program",
        "nccl-timeout",
        "host-oom",
        "no-file",
    }
    assert bad_nodes.accused(LOGGED["xid-79"][0])
    assert not bad_nodes.accused("ValueError: the text said: Xid, ECC error, GPU is lost")


def test_the_page_is_what_the_table_says() -> None:
    script = Path(__file__).parents[2] / "scripts" / "make_known_errors.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0, f"run {script.name}"
