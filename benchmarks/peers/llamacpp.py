"""llama.cpp. The prefix is computed once and forked with ``llama_memory_seq_cp``: its cells are shared.

python llamacpp.py MODEL THREADS       (in the environment that llamacpp.sh made)
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from pathlib import Path

import gguf
import llama_cpp as lib
import numpy as np
from safetensors.numpy import load_file
from worker import serve, top

ROOM = 512  # tokens that each branch may decode


def convert(folder: Path) -> Path:
    """The Hugging Face folder as a GGUF file in float32, written once."""
    file = folder / "model.gguf"
    if file.exists():
        return file
    c, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    out = gguf.GGUFWriter(str(file), "llama")
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_block_count(c["num_hidden_layers"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(c["head_dim"])
    out.add_value_length(c["head_dim"])
    out.add_rope_dimension_count(c["head_dim"])
    out.add_rope_freq_base(c["rope_theta"])
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_vocab_size(c["vocab_size"])
    out.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c["num_hidden_layers"])
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            # This file format rotates neighbours (0, 1), (2, 3), ...: the rows change places accordingly.
            n = heads if "q_proj" in name else kv_heads
            tensor = tensor.reshape(n, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)  # noqa: PLW2901
        out.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(tensor))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file


class LlamaCpp:
    def __init__(self, folder: Path, threads: int) -> None:
        lib.llama_backend_init()
        self.threads, self.context = threads, None
        params = lib.llama_model_default_params()
        self.model = lib.llama_model_load_from_file(str(convert(folder)).encode(), params)
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def open(self, prefix: list[int], branches: int, flash: bool) -> None:
        """A context in which ``branches`` sequences have the same prefix, computed once."""
        if self.context:
            lib.llama_free(self.context)
        p = lib.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch = len(prefix) + branches * ROOM, max(512, len(prefix)), 512
        p.n_seq_max, p.kv_unified = branches, True
        p.n_threads = p.n_threads_batch = self.threads
        p.type_k = p.type_v = lib.GGML_TYPE_F32
        p.flash_attn_type = int(flash)
        self.context = lib.llama_init_from_model(self.model, p)
        self.branches, self.position, self.tokens = branches, len(prefix), [i + 1 for i in range(branches)]
        self.decode([(token, at, 0) for at, token in enumerate(prefix)])
        memory = lib.llama_get_memory(self.context)
        for branch in range(1, branches):
            lib.llama_memory_seq_cp(memory, 0, branch, -1, -1)

    def decode(self, rows: list[tuple[int, int, int]]) -> None:
        """Rows of (token, position, sequence). Logits for the last one of each sequence."""
        batch = lib.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        last = {sequence: i for i, (_, _, sequence) in enumerate(rows)}
        for i, (token, position, sequence) in enumerate(rows):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = last[sequence] == i
        failed = lib.llama_decode(self.context, batch)
        lib.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama_decode gave {failed}")

    def logits(self, row: int) -> np.ndarray:
        pointer = lib.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self.vocabulary,))

    def top(self, tokens: list[int]) -> list[list[float]]:
        self.open(tokens, 1, flash=False)
        return top(self.logits(-1))

    def prepare(self, prefix: list[int], branches: int) -> str:
        """With or without its flash attention, whichever is faster here."""
        took = {}
        for flash in (False, True):
            self.open(prefix, branches, flash)
            took[flash] = min(self.timed() for _ in range(4))
        flash = min(took, key=took.__getitem__)
        self.open(prefix, branches, flash)
        return f"prefix forked with seq_cp, flash attention {'on' if flash else 'off'}"

    def timed(self) -> float:
        begun = time.perf_counter()
        self.step()
        return time.perf_counter() - begun

    def step(self) -> None:
        self.decode([(token, self.position, i) for i, token in enumerate(self.tokens)])
        self.tokens = [int(self.logits(i).argmax()) for i in range(self.branches)]
        self.position += 1


if __name__ == "__main__":
    serve(LlamaCpp(Path(sys.argv[1]), int(sys.argv[2])))
