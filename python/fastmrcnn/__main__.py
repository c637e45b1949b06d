"""`python -m fastmrcnn`: versions, instruction set and CUDA state without arguments, else the command line.

`torchrun -m fastmrcnn train ...` needs the second form.
"""

from __future__ import annotations

import sys


def main() -> int:
    if len(sys.argv) > 1:
        from fastmrcnn.cli import main as command_line

        return command_line()
    from fastmrcnn.environment import environment

    facts = environment()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
