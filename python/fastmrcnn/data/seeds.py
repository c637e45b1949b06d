"""Seeds of what is drawn for one image, one epoch, one step."""

from __future__ import annotations

import numpy as np


def derived_seed(*numbers: int) -> int:
    """A 63-bit seed that depends on every one of ``numbers``, all >= 0; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
