"""A model is in memory once, as it was read or packed; and what happens to its file afterwards does not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from miniapr.model import checkpoint
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.ops.backends import usable

WATCH = """
import sys, threading, time
from pathlib import Path
import torch
from miniapr.model import checkpoint

def own():  # memory that is not a mapped file, in MB
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

folder, pack, dtype = sys.argv[1], sys.argv[2] == "packed", getattr(torch, sys.argv[3])
checkpoint.load(sys.argv[4], pack=pack)  # a small one: what loading itself needs
before, peak, done = own(), 0.0, threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, own())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
model = checkpoint.load(folder, dtype, pack=pack)
done.set()
watcher.join()
print(peak - before, own() - before)
"""


def write(folder: Path, width: int) -> float:
    """Gives the size of the weights in MB."""
    config = ModelConfig(256, width, 2 * width, 8, 4, 4, width // 4)
    model = Decoder(config)
    checkpoint.save(model, folder)
    return model.parameter_count * 4 / 2**20


@pytest.fixture(scope="module")
def big_and_small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """Two models, and the size of the big one in MB."""
    folder = tmp_path_factory.mktemp("models")
    size = write(folder / "big", 768)
    write(folder / "small", 16)
    return folder / "big", folder / "small", size


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is told apart by Linux's /proc only")
@pytest.mark.parametrize(
    "kind, dtype, most", [("plain", "float32", 1.3), ("packed", "float32", 1.3), ("packed", "bfloat16", 0.8)]
)
def test_loading_makes_no_second_copy(
    big_and_small: tuple[Path, Path, float], kind: str, dtype: str, most: float
) -> None:
    if kind == "packed" and not usable("cpp"):
        pytest.skip("weights are packed for the C++ kernels, which were not built here")
    big, small, size = big_and_small
    words = [sys.executable, "-c", WATCH, str(big), kind, dtype, str(small)]
    # Memory that is let go goes back at once, or what malloc keeps in hand would be counted too.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "500000"}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=env)
    peak, after = map(float, done.stdout.split())
    assert peak < most * size, f"{size:.0f} MB of weights took {peak:.0f} MB on the way, {after:.0f} MB in the end"


CHANGED = """
import os, sys
from pathlib import Path
import torch
from miniapr.model import checkpoint, stored

folder, what = Path(sys.argv[1]), sys.argv[2]
file = folder / "model.safetensors"

def change():
    with open(file, "r+b") as out:  # in place: the same file, for whoever has it open
        if what == "cut":
            out.truncate(100)
        else:
            size = file.stat().st_size
            out.seek(size // 2)
            out.write(bytes(size - size // 2))

def logits(model):
    text = torch.arange(9)[None]
    return model.dense(text, text, torch.ones(1, 9, 9, dtype=torch.bool).tril())

models = [checkpoint.load(folder, torch.float32, pack=pack) for pack in (False, True)]
before = [logits(model) for model in models]
read, count = stored.Stored.read, 0

def meanwhile(tensor):
    global count
    count += 1
    if count == 9:
        change()
    return read(tensor)

stored.Stored.read = meanwhile
try:
    checkpoint.load(folder)
except ValueError as error:
    print(error)
assert all(torch.equal(logits(model), was) for model, was in zip(models, before))
"""


@pytest.mark.parametrize("what", ["cut", "overwritten"])
def test_a_file_changed_in_place_is_noticed_and_never_felt(tmp_path: Path, what: str) -> None:
    """In a process of its own, which a mapped file would end with SIGBUS."""
    write(tmp_path, 64)
    words = [sys.executable, "-c", CHANGED, str(tmp_path), what]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors was changed while it was read: load it again" in done.stdout
