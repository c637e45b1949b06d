"""Real processes, started by the real ``torchrun``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import fastmrcnn

# One thread each: the machines of the tests are small.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(fastmrcnn.__file__).parents[1])}


def torchrun(*words: object, processes: int = 2, place: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """The command line that starts ``words``, a script or ``-m module``, ``processes`` times on one machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *place, f"--nproc-per-node={processes}"]
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


def run_on_two_machines(*words: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """As ``run``, but started by a launcher for each process, as on machines of their own; the first one's output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}")
    commands = [torchrun(*words, processes=1, place=(*address, f"--node-rank={rank}")) for rank in range(2)]
    with subprocess.Popen(commands[1], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        try:
            first = subprocess.run(
                commands[0], env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False
            )
            other.wait(timeout)
        finally:
            other.kill()
    return first
