"""Shared by all tests: few threads (the machines are small and shared) and a fixed seed."""

from __future__ import annotations

import matplotlib as mpl
import pytest
import torch
from hypothesis import HealthCheck, settings

mpl.use("Agg")
torch.set_num_threads(2)

# Derandomised and without a deadline: a slow, busy machine must not turn a right answer into a failure.
SLOW_MACHINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("fastmrcnn", deadline=None, derandomize=True, suppress_health_check=SLOW_MACHINE)
settings.load_profile("fastmrcnn")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pytest_report_header() -> str:
    from fastmrcnn.environment import environment

    return "\n".join(f"{name}: {value}" for name, value in environment().items())
