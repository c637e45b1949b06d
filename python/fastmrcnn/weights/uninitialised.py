"""Building a network whose weights come from elsewhere, without the time that initialising them takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# torch.nn.init is told of by its own functions or, in some versions of torch, by those that they call.
_FILLING = frozenset(
    {
        *(getattr(nn.init, name) for name in ("uniform_", "normal_", "ones_", "zeros_", "constant_")),
        *(nn.init.kaiming_uniform_, nn.init.kaiming_normal_),
        *(Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_),
    }
)
_FILLED = frozenset({torch.zeros, torch.ones})


class WithoutInitialisation(TorchFunctionMode):
    """In this thread new weights stay as they are: in memory that nothing was written to.

    On the meta device, too, where torch would import its compiler only to write nothing, a second or two.

    >>> with WithoutInitialisation():
    ...     layer = nn.Linear(3, 4)
    >>> layer.load_state_dict({"weight": torch.ones(4, 3), "bias": torch.ones(4)})
    <All keys matched successfully>
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in _FILLING:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if function in _FILLED else function)(*args, **kwargs)
