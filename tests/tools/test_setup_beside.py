"""The tests begin before Megatron-Bridge is installed; those that need it wait for the process that installs it."""

from __future__ import annotations

import os
import subprocess

from tests.conftest import is_running, wait_for


def test_who_installs_is_waited_for_until_it_has_ended() -> None:
    assert is_running(str(os.getpid()))
    assert not any(is_running(word) for word in ("", "no", "1/..", "9" * 9))
    with subprocess.Popen(["sleep", "600"]) as process:
        assert is_running(str(process.pid))
        process.kill()
        wait_for(lambda: not is_running(str(process.pid)))  # though nobody has asked for its end yet
        assert process.returncode is None
