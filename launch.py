#!/usr/bin/env python3
"""The command a person types: `python launch.py pretrain -c tiny`. All of it is in automodel_launch.commands.main."""

import sys

MISSING = """launch.py: this Python ({python}) has no module named {name!r}.
These two commands fix it, in the checkout that holds launch.py:
    bash scripts/setup.sh
    source .venv/bin/activate
"""


def run() -> int:
    """Start the command line; a missing dependency is named with its cure instead of a traceback."""
    try:
        from automodel_launch.commands.main import main

        return main()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "automodel_launch":
            raise
        sys.stderr.write(MISSING.format(python=sys.executable, name=error.name))
        return 2


if __name__ == "__main__":
    sys.exit(run())
