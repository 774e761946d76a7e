#!/usr/bin/env bash
# Makes .venv in the checkout: the launcher and what training needs; with --dev also what the tests need.
# Versions are exact (requirements/constraints.txt). Running it again does nothing until they change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sets=(launcher train)
[ "${1:-}" = --dev ] && sets+=(dev)

python=${PYTHON:-python3}
"$python" - <<'PY' || { echo "setup: set PYTHON to a Python of 3.11 or 3.12 and run this again" >&2; exit 2; }
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(f"setup: {sys.executable} is Python {sys.version.split()[0]}; AutoModel 0.7.0 and torch are pinned for 3.11 and 3.12")
PY

stamp=.venv/.installed-$(cat requirements/*.txt pyproject.toml scripts/setup.sh | cksum | cut -d' ' -f1)-${sets[*]: -1}
# what --dev installs is enough without it, too
if [ -e "$stamp" ] || [ -e "${stamp%-*}-dev" ]; then exit 0; fi

echo "setup: installing into .venv (a few minutes, about 2 GB) ..." >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
requirements=()
for name in "${sets[@]}"; do requirements+=(-r "requirements/$name.txt"); done
# Compiling every module to byte code would take as long as the rest of the installation, and few are ever imported.
"${pip[@]}" install --no-compile --constraint requirements/constraints.txt "${requirements[@]}"
# Without its dependencies: all of them are twice as large, and none of the others is used by our recipes.
"${pip[@]}" install --no-compile --no-deps --constraint requirements/constraints.txt nemo-automodel
"${pip[@]}" install --no-deps --no-build-isolation --editable .
# Those that are: imported once here, so that the first run does not wait for them twice.
unset PYTHONDONTWRITEBYTECODE
.venv/bin/python -c "import nemo_run" &
.venv/bin/python -c "import nemo_automodel.recipes.llm.train_ft" 2> /dev/null || {
  echo "setup: AutoModel cannot be imported:" >&2
  .venv/bin/python -c "import nemo_automodel.recipes.llm.train_ft"
}
wait $! # fails where nemo_run cannot be imported
rm -f .venv/.installed-*
touch "$stamp"
