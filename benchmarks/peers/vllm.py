"""vLLM's CPU build, with its prefix cache, in this process. A step is one turn of its engine.

python vllm.py MODEL THREADS [eager|compiled]       (in the environment that vllm.sh made)
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": sys.argv[2],
}
here = sys.path.pop(0)  # this file is called vllm.py as well
from vllm import LLM, SamplingParams  # noqa: E402

sys.path.insert(0, here)
from worker import serve  # noqa: E402

ROOM = 512


class VLLM:
    def __init__(self, folder: str, eager: bool) -> None:
        self.llm: Any = LLM(
            model=folder, skip_tokenizer_init=True, dtype="float32", enforce_eager=eager,
            enable_prefix_caching=True, max_num_seqs=16, max_model_len=8192,
        )  # fmt: skip
        self.number, self.words = 0, "eager" if eager else "compiled"

    def top(self, tokens: list[int]) -> list[list[float]]:
        params = SamplingParams(temperature=0, max_tokens=1, logprobs=20, detokenize=False)
        (out,) = self.llm.generate([{"prompt_token_ids": tokens}], params, use_tqdm=False)
        found = out.outputs[0].logprobs[0].items()
        return sorted(([token, entry.logprob] for token, entry in found), key=lambda pair: -pair[1])

    def prepare(self, prefix: list[int], branches: int) -> str:
        engine = self.llm.llm_engine
        while engine.has_unfinished_requests():  # those of the case before
            engine.abort_request([str(n) for n in range(self.number)])
            engine.step()
        params = SamplingParams(temperature=0, max_tokens=ROOM, min_tokens=ROOM, ignore_eos=True, detokenize=False)
        # One after the other at first, so that the second finds the first one's prefix in the cache.
        for branch in range(branches):
            engine.add_request(str(self.number), {"prompt_token_ids": [*prefix, branch + 1]}, params)
            self.number += 1
            engine.step()
        for _ in range(3):
            engine.step()
        self.branches = branches
        return f"{self.words}, prefix cache"

    def step(self) -> None:
        told = self.llm.llm_engine.step()
        if len(told) != self.branches:
            raise RuntimeError(f"a step brought {len(told)} of {self.branches} branches on")


if __name__ == "__main__":
    serve(VLLM(sys.argv[1], sys.argv[3:] != ["compiled"]))
