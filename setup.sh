#!/bin/sh
# Create a virtual environment from a hashed lock file, on a machine with nothing but a Python 3.
#   setup.sh VENV LOCK [editable]   create VENV and install LOCK; with `editable` also install this project
#   setup.sh lock                   resolve pyproject.toml again and write the lock files
set -eu
cd "$(dirname "$0")"

fail() { echo "setup: $*" >&2; exit 1; }

# Print the path of uv: the one on PATH, or one installed into .uv so that nothing outside this folder changes.
find_uv() {
    if command -v uv >/dev/null 2>&1; then command -v uv; return; fi
    if [ ! -x .uv/bin/uv ]; then
        python=$(command -v python3 || command -v python) || fail "no Python found: install Python 3 and run this again"
        echo "setup: installing uv into .uv" >&2
        "$python" -m venv .uv >&2 2>/dev/null && .uv/bin/python -m pip install --quiet uv >&2 \
            || { rm -rf .uv; "$python" -m pip install --quiet --target .uv uv >&2; } \
            || fail "pip cannot install uv: install it by hand (pip install uv) and run this again"
    fi
    echo "$PWD/.uv/bin/uv"
}

# Print the path of a Python 3.13: one that uv finds, a python3.13 that really starts (a pyenv shim may not), pyenv's own,
# or a download.
find_python() {
    "$UV" python find --no-python-downloads 3.13 2>/dev/null && return
    for candidate in python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
            command -v "$candidate"; return
        fi
    done
    "$UV" python install --quiet 3.13 >&2 && "$UV" python find 3.13 && return
    fail "Python 3.13 is neither installed nor can it be downloaded: install it and run this again"
}

UV=$(find_uv)
[ -n "$UV" ] || exit 1

if [ "$1" = lock ]; then
    compile() { "$UV" pip compile --quiet --upgrade --python .venv/bin/python --universal --generate-hashes \
        --no-emit-index-url --no-header --no-annotate "$@"; }
    compile pyproject.toml --extra upload -o requirements.lock
    compile pyproject.toml --extra upload --group dev -c requirements.lock -o requirements-dev.lock
    compile --group pyproject.toml:servers -o requirements-servers.lock
    compile pyproject.toml --group bench -c requirements.lock -o requirements-bench.lock
    compile --group pyproject.toml:bench-duckdb -o requirements-bench-duckdb.lock
    exit
fi

venv=$1 lock=$2
PYTHON=$(find_python)
[ -n "$PYTHON" ] || exit 1
echo "setup: $venv from $lock"
[ -x "$venv/bin/python" ] || "$UV" venv --quiet --python "$PYTHON" "$venv"
# Compile byte code once, here. If Python cannot write it later (PYTHONDONTWRITEBYTECODE, another user's folder), each of
# a run's many processes compiles Dagster again, which is half of its startup time.
"$UV" pip sync --quiet --compile-bytecode --python "$venv/bin/python" "$lock"
if [ "${3:-}" = editable ]; then
    # No build isolation, because the build backend comes from the lock file too.
    "$UV" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
fi
