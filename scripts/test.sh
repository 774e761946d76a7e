#!/usr/bin/env bash
# Sets up all that the tests need and runs them: style, types, layers, tests. Arguments go to pytest (-k NAME).
# With --bridge: the slow ones that train with Megatron-Bridge alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Three things at once, each of which mostly waits for the network. The tests begin without the last, 1.5 GB: the few of
# Megatron-Bridge's wait for the end of that process.
bash scripts/install-test-system.sh &
system=$!
bash scripts/setup.sh --bridge &
export BRIDGE_SETUP=$!
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
bash scripts/setup.sh --dev
# Slurm, sshd and their like, for the tests that start a cluster of their own. Who may not install them can still run
# the rest: those tests skip and say why, except in CI, where they fail.
wait "$system" || [ -z "${CI:-}" ]
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves byte code to be written at a module's first import
export PATH="$PWD/.venv/bin:$PATH"

if [ "${1:-}" = --bridge ]; then
  shift
  wait "$BRIDGE_SETUP"
  exec python -m pytest -m slow -k bridge "$@"
fi
ruff check .
ruff format --check .
# Beside the tests, which wait a good deal; what they say counts at the end. mypy takes a minute of one core.
mypy &
types=$!
lint-imports --no-cache &
layers=$!
# The tests' byte code, once: each of the four below would rewrite all of their asserts. Its errors are theirs, too.
python -m pytest -n 0 -q --collect-only > /dev/null || true
# In mounts of their own the tests' login shells, of which there are some hundreds, here, over SSH and in jobs, find
# empty start-up files in the account's home: what people have there (pyenv's cost 0.2 s a shell, and as much each
# `python3` in a job) is neither waited for nor decides what a test sees. Who may not mount has them read theirs.
plain=()
if unshare --mount true 2> /dev/null; then
  # shellcheck disable=SC2016
  plain=(unshare --mount bash -c 'empty=$(mktemp) home=$(getent passwd "$(id -u)" | cut -d: -f6)
    for name in .bash_profile .bash_login .profile .bashrc; do
      [ ! -f "$home/$name" ] || mount --bind "$empty" "$home/$name"
    done
    rm "$empty"
    exec "$@"' plain)
fi
# Four at once, on two cores: most of the time goes by in waiting, for Slurm above all. Five fill the cores, and each test
# takes a fifth more. A file's tests stay together, with their fixtures, but for long ones that share none; tests/balance.py
# says which, and what comes first.
failed=0
"${plain[@]}" python -m pytest -n 4 --dist loadfile --no-loadscope-reorder "$@" || failed=$?
ended() { # PID NAME
  wait "$1" || { failed=$? && echo "test.sh: $2 failed; what it said stands above" >&2; }
}
ended "$types" mypy
ended "$layers" lint-imports
ended "$BRIDGE_SETUP" "setup.sh --bridge"
exit "$failed"
