"""`python -m benchmarks.study`."""

import os
import sys

# Before torch starts its pool: idle threads sleep instead of spinning, for on a shared machine they take the time of
# whoever works.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.study.program import main

if __name__ == "__main__":
    sys.exit(main())
