# Shared by the scripts: a .venv with the tested versions, made when it is missing or out of date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
NEWS_EVERY=${NEWS_EVERY:-4} # seconds

# `ensure_venv train` installs what `ftclf train` needs, `ensure_venv dev` the developers' tools as well.
ensure_venv() {
  local extras=offline sum
  sum=$(cat pyproject.toml constraints.txt | cksum | tr ' ' '-')
  [ -f ".venv/.ftclf-dev-$sum" ] && return
  if [ "$1" = dev ]; then extras=offline,joblib,dev; else [ -f ".venv/.ftclf-train-$sum" ] && return; fi
  [ -x .venv/bin/python ] || make_venv
  rm -f .venv/.ftclf-*
  if [ -x .venv/bin/pip ] || ! command -v uv >/dev/null; then
    install=(.venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile --progress-bar off)
    "${install[@]:0:3}" --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
  else
    install=(uv pip install --python .venv/bin/python --torch-backend auto)
  fi
  with_news "installing" "${install[@]}" --constraint constraints.txt --editable ".[$extras]"
  without_their_tests .venv/lib/python*/site-packages
  with_news "importing for the first time" .venv/bin/python -c "import ftclf.cli.sweep_server"
  touch ".venv/.ftclf-$1-$sum"
  echo "installed: $(megabytes) MB in .venv"
}

# Take out what large libraries bring along to test themselves, 200 MB: programs of torch's, folders of the others'.
without_their_tests() {
  local library
  rm -rf "$1"/torch/test "$1"/torch/bin/*[tT]est*
  for library in matplotlib networkx numpy pandas pyarrow scipy sklearn sympy; do
    find "$1/$library" -type d -name tests -prune -exec rm -rf {} + 2>/dev/null || true
  done
}

# By uv, if it finds the build of torch that suits this machine, else by Python itself.
make_venv() {
  local python="" candidate torch
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "error: no Python 3.11 or newer found; install one or name it by PYTHON=/path/to/python" >&2
    exit 2
  fi
  torch=$(grep '^torch==' constraints.txt)
  if command -v uv >/dev/null; then
    echo "making .venv with $("$python" --version) and uv"
    uv venv --quiet --clear --python "$python" .venv
    UV_HTTP_RETRIES=0 uv pip install --quiet --dry-run --no-deps --python .venv/bin/python \
      --torch-backend auto "$torch" 2>/dev/null && return
    echo "uv finds no build of $torch for this machine: pip goes on"
    rm -rf .venv
  fi
  echo "making .venv with $("$python" --version) and pip"
  mkdir -p .venv
  with_news "making .venv" "$python" -m venv .venv
}

# Run a command that may be silent for long, and say every few seconds how far it is; all it says only if it fails.
with_news() {
  local what=$1 log=.venv/install.log begun=$SECONDS next=$NEWS_EVERY seconds pid
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM # a command in the background is deaf to Ctrl-C
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    seconds=$((SECONDS - begun))
    if [ "$seconds" -ge "$next" ]; then
      echo "$what: $seconds s, $(megabytes) MB$(last_line "$log")"
      next=$((seconds + NEWS_EVERY))
    fi
  done
  trap - INT TERM
  if ! wait "$pid"; then
    tail -n 30 "$log" >&2
    exit 1
  fi
}

megabytes() { du -sm .venv | cut -f 1; }

last_line() {
  local line
  line=$(grep -v WARNING "$1" | tr -d '\r' | grep . | tail -n 1 | cut -c 1-60 || true)
  echo "${line:+, $line}"
}
