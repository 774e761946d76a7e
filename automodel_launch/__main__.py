"""`python -m automodel_launch`: the command line, for an installed package without launch.py beside it."""

import sys

from automodel_launch.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
