"""What making a model ready to deploy did to it, for people to read."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from fastmrcnn.deployment.agreement import Agreement

_WIDTH = 120  # characters of a printed line


@dataclass(frozen=True)
class Step:
    """One of the things that make a model faster."""

    name: str
    done: bool
    detail: str  # how much was done, or why nothing was

    def __str__(self) -> str:
        return f"{self.name}: {'' if self.done else 'no: '}{self.detail}"


@dataclass(frozen=True)
class OptimizationReport:
    """What :func:`fastmrcnn.optimize` did, and how far the results have moved.

    >>> print(OptimizationReport((Step("batch norms", False, "there are none"),), None))
    batch norms    no: there are none
    deviation      not measured
    """

    steps: tuple[Step, ...]
    # From the plain model, on the sample; None where none was given.
    deviation: Agreement | None

    def step(self, name: str) -> Step:
        """The step of that name, one of those in ``steps``."""
        return next(step for step in self.steps if step.name == name)

    def __str__(self) -> str:
        deviation = "not measured" if self.deviation is None else _described(self.deviation)
        rows = [(step.name, step.detail if step.done else f"no: {step.detail}") for step in self.steps]
        rows.append(("deviation", deviation))
        column = max(len(name) for name, _ in rows) + 4
        return "\n".join(
            textwrap.fill(
                detail,
                _WIDTH,
                initial_indent=name.ljust(column),
                subsequent_indent=" " * column,
                break_on_hyphens=False,
            )
            for name, detail in rows
        )


def _described(deviation: Agreement) -> str:
    if deviation.detections == 0:
        return "nothing was detected in the sample: give images that the model knows"
    return str(deviation)
