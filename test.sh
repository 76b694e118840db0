#!/usr/bin/env bash
# Installs what the tests need and runs every test: unit, property, browser, notebooks.
#   bash test.sh [pytest options]     e.g. bash test.sh tests/store -k resume
set -euo pipefail
cd "$(dirname "$0")"
. scripts/env.sh
install_widgetkit test
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
fi
# nbval collects the notebooks in the same run, so that one closing line counts everything
exec .venv/bin/python -m pytest tests notebooks --nbval-lax --nbval-current-env --nbval-cell-timeout 300
