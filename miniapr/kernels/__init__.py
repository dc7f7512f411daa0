"""Tools for working on the kernels: edit a copy, compile it, see whether it is still right and how fast it is.

    from miniapr import kernels

    kernels.sources("mine")         # a copy of csrc/, to be edited
    mine = kernels.build("mine")    # compiles what has changed, and loads it: a backend like any other
    print(kernels.check(mine), kernels.time(mine), sep="\\n\\n")

Nothing here runs in a step.
"""

from ..ops.built import own_sources
from .checking import check
from .compiling import BuildError
from .loading import EMULATED, build, emulate, sources
from .timing import time

__all__ = ["EMULATED", "BuildError", "build", "check", "emulate", "own_sources", "sources", "time"]
