"""A Python that has imported Megatron-Bridge, and forks what bridge_fixtures.py asks for on its standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).with_name("bridge_scripts"))]

from tests.recipes import train_server  # noqa: E402  # puts recipes/ on the path

if __name__ == "__main__":
    import imported  # type: ignore[import-not-found]  # noqa: F401
    import megatron.bridge.training.gpt_step  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(train_server.run(json.loads(line))), flush=True)
