"""Real processes, started by the real ``torchrun``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fastmrcnn

# One thread each: the machines of the tests are small.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(fastmrcnn.__file__).parents[1])}


def torchrun(*words: object, processes: int = 2) -> list[str]:
    """The command line that starts ``words``, a script or ``-m module``, ``processes`` times."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, *map(str, words)]


def run(*words: object, processes: int = 2, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Start ``words`` and wait for all processes to end."""
    return subprocess.run(
        torchrun(*words, processes=processes),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
