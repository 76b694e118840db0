#!/usr/bin/env bash
# Opens the quickstart notebook in JupyterLab (installs what it needs first).
#   bash run.sh              JupyterLab in the browser
#   bash run.sh --headless   executes the notebook and writes its outputs to output/
set -euo pipefail
cd "$(dirname "$0")"
. scripts/env.sh
install_widgetkit all
echo "Preparing the demo store ..."
.venv/bin/python -m widgetkit demo --prepare
if [ "${1:-}" = "--headless" ]; then
  shift
  exec .venv/bin/python scripts/headless.py "$@"
fi
exec .venv/bin/jupyter lab notebooks/01-quickstart.ipynb "$@"
