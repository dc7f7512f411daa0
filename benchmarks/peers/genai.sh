#!/bin/sh
# onnxruntime-genai, with what its model builder needs to read a Hugging Face folder.
#     sh benchmarks/peers/genai.sh FOLDER [PYTHON]
set -eu
"${2:-python3}" -m venv "$1"
"$1/bin/pip" install -q "onnxruntime-genai>=0.18" onnx onnx-ir transformers torch
