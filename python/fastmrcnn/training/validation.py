"""Evaluations on the way: how good the model is, which one was best, and whether there is hope of a better one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset
from fastmrcnn.evaluation import EvaluationResult, evaluate
from fastmrcnn.files import finite
from fastmrcnn.training.checkpoint import save_result
from fastmrcnn.training.config import TrainConfig
from fastmrcnn.training.state import TrainState
from fastmrcnn.training.watch import Row


class Validation:
    """COCO metrics and losses on the evaluation data; the best model is kept as ``best.safetensors``.

    The best is that of the highest mask AP; of a model without masks that of the highest keypoint AP, or box AP. What
    came before a resumed run is read from ``history``, the rows of its metrics; nothing else is carried along.
    """

    def __init__(self, data: InstanceDataset, config: TrainConfig, output: Path, history: Sequence[Row]) -> None:
        self.data, self.config = data, config
        self.path = output / "best.safetensors"
        self.result: EvaluationResult | None = None  # of this process
        self._rows = [row for row in history if "box_ap" in row]

    def is_done(self, step: int) -> bool:
        """Whether there is a row of an evaluation after that step."""
        return any(row["step"] == step for row in self._rows)

    @property
    def is_exhausted(self) -> bool:
        """Whether ``config.patience`` evaluations have passed since the best one."""
        since_best = len(self._rows) - 1 - self._best_index()
        return self.config.patience > 0 and since_best >= self.config.patience

    def best(self) -> tuple[int, float]:
        """The step and the AP of the best evaluation."""
        row = self._rows[self._best_index()]
        return row["step"], ap_of(row)

    def _best_index(self) -> int:
        """That of the first of the best; -1 without any."""
        return max(range(len(self._rows)), key=lambda index: ap_of(self._rows[index]), default=-1)

    def measure(self, state: TrainState, before_batch: Callable[[], None] | None = None) -> EvaluationResult:
        """Evaluate; changes nothing of the training. before_batch: see :func:`~fastmrcnn.evaluation.evaluate`."""
        # In batches of the size that `fastmrcnn eval` has, as the company of an image moves its scores a little.
        # Without keypoints in the data there is no loss of a head for them.
        has_losses = state.model.config.keypoint_head is None or bool(self.data.keypoint_names)
        loss_seed = self.config.seed if has_losses else None
        self.result = evaluate(
            state.result,
            self.data,
            before_batch=before_batch,
            loss_seed=loss_seed,
            keypoint_sigmas=self.config.keypoint_sigmas,
        )
        return self.result

    def keep(self, state: TrainState) -> Row:
        """Keep the model that was measured, if it is the best; the row of its evaluation."""
        assert self.result is not None
        losses = {f"val_{name}": value for name, value in self.result.losses.items()}
        row: dict[str, Any] = {"step": state.step} | finite(
            self.result.averages | losses
        )  # NaN of what cannot be measured
        self._rows.append(row)
        if self._best_index() == len(self._rows) - 1:
            distributed.from_first(lambda: save_result(state, self.path))
        return row


def ap_of(row: Row) -> float:
    """What tells a better model from a worse one in the row of an evaluation."""
    known = (row.get(name) for name in ("mask_ap", "keypoint_ap", "box_ap"))
    return float(next((ap for ap in known if ap is not None), 0.0))
