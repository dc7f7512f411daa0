"""A process that is forked after its threads have worked: what multiprocessing and torch's DataLoader do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import backend_or_skip

PREPARE = """
import os, signal, threading, torch
import miniapr
from miniapr.ops import load
from miniapr.ops.packed import pack

torch.set_num_threads(2)
ops, x, weight = load("cpp"), torch.randn(64, 256), torch.randn(512, 256)
panels = pack(weight)

def compute(ops):
    return ops.linear(x, (panels,))

replay = ops.capture(compute)  # remembers two threads
want = compute(ops)
big = torch.randn(512, 512)
big @ big, big.softmax(-1)  # torch's own operations share the threads
threads = len(os.listdir("/proc/self/task"))
assert threads > 1, f"{threads} threads: nothing is lost in a fork"
"""

FORK = """
def in_child():
    assert torch.equal(compute(ops), want) and torch.equal(replay(), want)
    assert (big @ big).isfinite().all() and big.softmax(-1).isfinite().all()
    later = threading.Thread(target=lambda: done.append(torch.equal(compute(ops), want)))
    later.start(); later.join()
    assert done == [True]

done, child = [], os.fork()
if not child:
    signal.alarm(300)  # the end of a child that waits for threads which are not there
    try:
        in_child()
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(compute(ops), want) and torch.get_num_threads() == 2  # the parent keeps its threads
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts the threads of a process in /proc")
def test_a_forked_child_computes_what_its_parent_does(tmp_path: Path) -> None:
    backend_or_skip("cpp")
    ran = subprocess.run(
        [sys.executable, "-c", PREPARE + FORK], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )  # not where the sources are: they may be without what was compiled of them
    assert not ran.returncode, ran.stdout + ran.stderr
