"""recipes/convert.py, by a name beside the other scripts."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from bridge_lib import convert_command

    sys.exit(convert_command.main())
