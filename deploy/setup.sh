#!/bin/sh
# Fills .venv from the lock file: `make setup` calls it when either has changed.
set -eu

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
}
echo "installing into .venv (about 300 MB)"
# A .venv of another Python, or one that was half made, is made anew over itself.
"$PYTHON" -m venv .venv
# Nothing is accepted that the lock file does not name by hash. Compiling waits: it is done below, on all cores.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock

# The checkout itself is found by a path file: building an editable install would need setuptools.
packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pwd > "$packages/tandem.pth"
# Not a Python script: the first line of one may hold 127 bytes and no space, and a checkout's path may not fit.
cat > .venv/bin/tandem <<'END'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/python" -c 'import sys; sys.argv[0] = "tandem"; from ops.main import run; run()' "$@"
END
chmod +x .venv/bin/tandem

echo "compiling"
# Some packages ship files for other versions of Python, which do not compile here and are not used.
.venv/bin/python -m compileall -qq -j 0 "$packages" || true
.venv/bin/python -m compileall -q -j 0 contracts chassis services ops deploy tests
