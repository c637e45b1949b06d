"""What one line of the table is made of: two functions, how their results are compared, and what limits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """The least that any implementation of an operation must do, from which the machine's limit for it follows.

    Caches and bandwidth are those of the machine at hand, see `limits.Limits.milliseconds`.
    """

    reads: float = 0  # bytes that come from memory, each counted once
    writes: float = 0  # bytes of the result
    gathers: float = 0  # bytes read and written once per region, at best in a core's own cache
    flops: float = 0  # a fused multiply-add counts two, and so does every other vector operation, which takes its place


@dataclass(frozen=True)
class Goal:
    """What performance.md asks of an operator; a row shows whether it is met, whatever the number of threads."""

    ratio: float | None = None  # at least this many times as fast as the peer
    milliseconds: float | None = None  # at most this
    fraction: float | None = None  # at least this share of the machine's limit
    operators_share: float | None = None  # at most this share of a model's time goes to the detection operators

    def __str__(self) -> str:
        parts = [
            f">= x{self.ratio:g}" if self.ratio else "",
            f"<= {self.milliseconds * 1e3:g} us" if self.milliseconds else "",
            f">= {self.fraction:.0%} of the limit" if self.fraction else "",
            f"operators <= {self.operators_share:.0%}" if self.operators_share else "",
        ]
        return ", ".join(part for part in parts if part)

    def is_met(
        self, ratio: float | None, milliseconds: float, fraction: float | None, share: float | None
    ) -> bool | None:
        """None where there is no goal; a figure that could not be measured does not meet one."""
        verdicts = [
            ratio is not None and ratio >= self.ratio if self.ratio else None,
            milliseconds <= self.milliseconds if self.milliseconds else None,
            fraction is not None and fraction >= self.fraction if self.fraction else None,
            share is not None and share <= self.operators_share if self.operators_share else None,
        ]
        known = [verdict for verdict in verdicts if verdict is not None]
        return all(known) if known else None


@dataclass(frozen=True)
class Contest:
    """A case with its tensors made, ready to run."""

    peer_name: str
    peer: Callable[[], Any]
    ours: Callable[[], Any]
    # Compares (ours, the peer's), raises AssertionError where they differ, and says how equal they are.
    check: Callable[[Any, Any], str]
    work: Work | None = None  # None where nothing but the shapes' bookkeeping would remain
    # Shares of the run time that the detection operators take, (of the peer, of ours); of whole models only.
    operators_share: Callable[[], tuple[float, float]] | None = None


@dataclass(frozen=True)
class Case:
    """A line of the table, and how to make its tensors; they live only while it runs."""

    op: str
    prepare: Callable[[], Contest]
    dtype: str = "float32"
    layout: str = ""  # where the op has one: NCHW or NHWC
    goal: Goal = Goal()
    in_readme: bool = False  # among the rows that the project's README shows
    least_rounds: int = 3

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.op, self.dtype, self.layout) if part)
