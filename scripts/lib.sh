# Shared by the scripts: a .venv with the tested versions, made when it is missing or out of date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ensure_venv() {
  local python="" candidate stamp=".venv/.ftclf-$(cat pyproject.toml constraints.txt | cksum | tr ' ' '-')"
  [ -f "$stamp" ] && return
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
  echo "making .venv with $("$python" --version): about a minute with a warm pip cache, three without"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  rm -f .venv/.ftclf-*
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[offline,joblib,dev]' 2> >(grep -v '^WARNING: Location' >&2)
  touch "$stamp"
}
