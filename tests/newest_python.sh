#!/usr/bin/env bash
# Run the tests that need no servers once more, under the newest Python on the machine, when that is another one.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${SCALEKIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/scalekit}"

pythons() {
    for minor in 15 14 13 12; do
        command -v "python3.$minor" || true
        ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python 2>/dev/null || true
    done
}

works() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

newest=""
for python in $(pythons); do
    if works "$python"; then
        newest="$python"
        break
    fi
done
if [ -z "$newest" ] || [ "$(version "$newest")" = "$(version .venv/bin/python)" ]; then
    echo "no newer Python found; the tests ran under $(version .venv/bin/python) only"
    exit 0
fi
venv="$cache/python$(version "$newest")"
[ -x "$venv/bin/python" ] || "$newest" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install --editable '.[test]'
echo "once more under Python $(version "$newest"), without the servers:"
"$venv/bin/python" -m pytest -q tests/host -m 'not needs'
