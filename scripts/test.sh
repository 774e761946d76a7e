#!/usr/bin/env bash
# Sets up all that the tests need and runs them: style, types, layers, tests. Arguments go to pytest (-k NAME).
# With --bridge: the slow ones that train with Megatron-Bridge alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Slurm, sshd and their like, for the tests that start a cluster of their own. Who may not install them can still run
# the rest: those tests skip and say why, except in CI, where they fail.
bash scripts/install-test-system.sh || [ -z "${CI:-}" ]
bash scripts/setup.sh --dev
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves byte code to be written at a module's first import
export PATH="$PWD/.venv/bin:$PATH"

bash scripts/setup.sh --bridge & # beside what looks at the source; 1.5 GB
bridge=$!
if [ "${1:-}" = --bridge ]; then
  shift
  wait "$bridge"
  exec python -m pytest -m slow -k bridge "$@"
fi
ruff check .
ruff format --check .
mypy
lint-imports --no-cache
wait "$bridge" # fails where it cannot be installed
# Four at once, on two cores: most of the time goes by in waiting, for Slurm above all. A file's tests stay together, with
# their fixtures, but for long ones that share none; tests/balance.py says which, and what comes first.
exec python -m pytest -n 4 --dist loadfile --no-loadscope-reorder "$@"
