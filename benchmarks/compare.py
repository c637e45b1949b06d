"""Ways in which two results are found equal; each raises AssertionError, or says how equal they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Half precision rounds the result once, to 8 or 11 significant bits; float32 sums come in another order.
RELATIVE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 8e-3}
ABSOLUTE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-4, torch.bfloat16: 1e-4}


def identical(ours: Any, theirs: Any) -> str:
    same = torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs
    assert same, "results differ"
    return "identical"


def close(ours: Tensor, theirs: Tensor) -> str:
    """Within the tolerance of our dtype; the peer's may be wider."""
    relative, absolute = RELATIVE[ours.dtype], ABSOLUTE[ours.dtype]
    torch.testing.assert_close(ours, theirs, rtol=relative, atol=absolute, check_dtype=False)
    return f"within {relative:g} relative + {absolute:g}"


def same_set(ours: Tensor, theirs: Tensor) -> str:
    """The same indices, in any order: of equal scores either may come first."""
    identical(ours.sort().values, theirs.sort().values)
    return "identical as sets"
