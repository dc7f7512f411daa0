"""`python -m miniapr`."""

import sys

from miniapr.cli import main

if __name__ == "__main__":
    sys.exit(main())
