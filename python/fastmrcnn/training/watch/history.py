"""The rows of a run in bounded memory, for its curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastmrcnn.training.watch.sink import Row

MOST_ROWS = 1000  # of training: more points than a curve on a screen can show


class RowHistory:
    """Rows of evaluations as they are, and of training the mean of each few, the more the longer the run is."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._training: list[Row] = []
        self._measured: list[Row] = []
        self._group: list[Row] = []  # training rows that are not yet enough for a mean
        self._group_size = 1
        self.last: Row = {}  # of training
        self.seconds = 0.0  # in steps, over the whole run
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        if "loss" not in row:
            self._measured.append(row)
            return
        self.last = row
        self.seconds += row.get("seconds") or 0.0
        self._group.append(row)
        if len(self._group) < self._group_size:
            return
        self._training.append(mean_row(self._group))
        self._group = []
        if len(self._training) == 2 * MOST_ROWS:
            pairs = zip(self._training[::2], self._training[1::2], strict=True)
            self._training = [mean_row(pair) for pair in pairs]
            self._group_size *= 2

    @property
    def rows(self) -> list[Row]:
        """Training rows, then the others."""
        rest = [mean_row(self._group)] if self._group else []
        return [*self._training, *rest, *self._measured]

    @property
    def measured(self) -> list[Row]:
        """Rows of validation and evaluation."""
        return list(self._measured)


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean of each number at the last row's step; None where a row has none, as a curve has a gap there.

    >>> mean_row([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    {'step': 2, 'loss': 1.5}
    """
    last = rows[-1]
    means: Row = {"step": last["step"]}
    for name in last:
        values = [row.get(name) for row in rows]
        if name != "step":
            known = [value for value in values if value is not None]
            means[name] = sum(known) / len(values) if len(known) == len(values) else None
    return means
