#!/bin/sh
# llama.cpp through its Python binding, compiled for this machine's own instruction set (a few minutes).
#     sh benchmarks/peers/llamacpp.sh FOLDER [PYTHON]
set -eu
"${2:-python3}" -m venv "$1"
CMAKE_ARGS="-DGGML_NATIVE=ON -DMTMD_BUILD=OFF -DLLAMA_CURL=OFF" \
    "$1/bin/pip" install -q --no-binary llama-cpp-python "llama-cpp-python>=0.3.36" "gguf>=0.19" safetensors
