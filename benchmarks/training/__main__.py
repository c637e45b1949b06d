"""`python -m benchmarks.training`: peak memory on crowded images beside torchvision's, and the rate of the loader."""

import argparse
import os
import sys
from pathlib import Path

# Before torch starts its pool: idle threads sleep instead of spinning, where workers want the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.training import loading, memory
from benchmarks.training.report import rewrite

SIDE, QUICK_SIDE = (800, 1333), (96, 128)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--document", type=Path, help="put the tables between the markers of this document")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the program work?")
    options = parser.parse_args()
    size = QUICK_SIDE if options.quick else SIDE
    tables = {"memory": memory.table(size), "loading": loading.table(quick=options.quick)}
    print(*tables.values(), sep="\n\n")
    if options.document:
        rewrite(options.document, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
