"""onnxruntime-genai. It has no shared prefix: every branch is a row of the batch with its own cache.

python genai.py MODEL THREADS       (in the environment that genai.sh made)
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime_genai as og
from worker import serve, top

ROOM = 512


def convert(folder: Path, threads: int) -> Path:
    """The Hugging Face folder as an ONNX model in float32 by the library's own builder, made once."""
    out = folder / "onnx"
    if not (out / "genai_config.json").exists():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        subprocess.run(
            [*command, "-i", str(folder), "-o", str(out), "-p", "fp32", "-e", "cpu"], check=True, stdout=sys.stderr
        )
    config = json.loads((out / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    (out / "genai_config.json").write_text(json.dumps(config, indent=1))
    return out


class GenAI:
    def __init__(self, folder: Path, threads: int) -> None:
        self.model = og.Model(str(convert(folder, threads)))

    def open(self, prefix: list[int], branches: int) -> None:
        params = og.GeneratorParams(self.model)
        params.set_search_options(max_length=len(prefix) + ROOM, min_length=len(prefix) + ROOM, batch_size=branches)
        self.generator = og.Generator(self.model, params)
        self.generator.append_tokens([prefix] * branches if branches > 1 else prefix)

    def top(self, tokens: list[int]) -> list[list[float]]:
        self.open(tokens, 1)
        return top(self.generator.get_logits().reshape(-1, self.generator.get_logits().shape[-1])[-1])

    def prepare(self, prefix: list[int], branches: int) -> str:
        self.open(prefix, branches)
        return "a batch, one cache for each branch"

    def step(self) -> None:
        self.generator.generate_next_token()


if __name__ == "__main__":
    serve(GenAI(Path(sys.argv[1]), int(sys.argv[2])))
