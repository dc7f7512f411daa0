"""What was measured on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from miniapr.ops import available


def describe(backend: str) -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "last-level cache, MB": round(cache() / 1e6, 1),
        "memory, GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": package("transformers"),
        "miniapr": package("miniapr"),
        "backend": backend,
        "built": available().get(backend, ""),
    }


def now() -> dict[str, Any]:
    """When, and of which commit; with a + where files differ from it, None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        told = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        commit: str | None = told.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {"date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "commit": commit}


def cpu_name() -> str:
    """The model's name as the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def cache() -> int:
    """Bytes of the largest cache that one core reaches; 0 where the system does not tell."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(told.read_text().strip().removesuffix("K")) << 10 for told in sizes), default=0)


def beyond_caches() -> int:
    """Bytes that no cache of this machine holds: whoever goes round through as many reads from memory. Servers have
    caches of 300 MB, where what was thought to be cold was not."""
    return max(256 << 20, 2 * cache())


def package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
