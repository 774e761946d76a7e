#!/usr/bin/env bash
# Sets up all that the tests need and runs them: style, types, tests. Arguments go to pytest (-k NAME, -m "not train").
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --dev
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves byte code to be written at a module's first import
export PATH="$PWD/.venv/bin:$PATH"

ruff check .
ruff format --check .
mypy
exec python -m pytest "$@"
