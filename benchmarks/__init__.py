"""What a step, a fork and a join cost, beside the machine's limit and beside other engines, in one run.

python -m benchmarks --help
"""

import sys
from pathlib import Path

if sys.path[:1] == [str(Path(__file__).parents[1])]:
    # Last, not first: the miniapr that is installed is meant, not the folder here, whose extension may not be built.
    sys.path.append(sys.path.pop(0))
