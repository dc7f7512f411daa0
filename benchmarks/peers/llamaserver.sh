#!/bin/sh
# llama.cpp's own server, in a wheel that needs no compiler: for tests, not for timing (it is made for any x86-64).
#     sh benchmarks/peers/llamaserver.sh FOLDER [PYTHON]
set -eu
"${2:-python3}" -m venv "$1"
"$1/bin/pip" install -q "xllamacpp>=2026.10"
