# Sourced by run.sh, test.sh and .ci/run: makes .venv and installs widgetkit into it.
# Quick the second time: a stamp of pyproject.toml and constraints.txt skips the install.
#   TORCH_INDEX=<PyTorch's CPU index>   on Linux without a GPU: saves several GB
#   PYTHON=python3.12                   another interpreter

need_python() {
  PYTHON=${PYTHON:-python3}
  if ! command -v "$PYTHON" >/dev/null; then
    echo "widgetkit needs Python 3.11 or newer; '$PYTHON' was not found. Set PYTHON=... to yours." >&2
    exit 1
  fi
  if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "widgetkit needs Python 3.11 or newer; $PYTHON is $("$PYTHON" -V 2>&1). Set PYTHON=... to a newer one." >&2
    exit 1
  fi
}

install_widgetkit() { # install_widgetkit EXTRAS
  local extras=$1 want done
  if [ ! -x .venv/bin/python ]; then
    need_python
    echo "Making .venv ..."
    if ! "$PYTHON" -m venv .venv; then
      rm -rf .venv
      echo "Could not make .venv. On Debian or Ubuntu: apt-get install python3-venv" >&2
      exit 1
    fi
  fi
  # the folder is part of the stamp: an editable install does not survive a move of the checkout
  want="$(pwd) $(cat pyproject.toml constraints.txt | .venv/bin/python -c 'import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
  # dev holds test, and test holds all
  for done in "$extras" $(case $extras in all) echo test dev ;; test) echo dev ;; esac); do
    if [ -f .venv/.widgetkit ] && grep -qxF "$done $want" .venv/.widgetkit; then
      return
    fi
  done
  echo "Installing widgetkit[$extras] (the first time takes some minutes) ..."
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -e ".[$extras]"
  echo "$extras $want" >>.venv/.widgetkit
}
