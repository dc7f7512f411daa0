"""What was measured on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from miniapr.lab.where import commit, processor
from miniapr.ops import available


def describe(backend: str) -> dict[str, Any]:
    return {
        "cpu": processor(),
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
    """When, and of which commit."""
    return {"date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "commit": commit()}


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
