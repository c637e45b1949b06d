"""metrics.jsonl: one JSON object per line, of a training step, a validation or an evaluation.

Rows of training have ``step`` (from 1), ``epoch``, ``learning_rate``, ``loss`` and the losses that it is the sum of,
``gradient_norm``, ``images_per_second``, ``seconds`` (of the step, the wait for its images included), ``data_seconds``
(that wait alone), ``memory_gib`` and, on a GPU, ``gpu_memory_gib``. Rows of an evaluation have ``step``, ``box_ap``,
``mask_ap`` and ``mask_ap50`` (and ``keypoint_ap`` of a model with keypoints), null where there is nothing to measure,
and the losses on the evaluation data: ``val_loss``, and ``val_`` before the name of each that it is the sum of.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def read_metrics(path: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The rows of a metrics file up to step ``until``; none when it does not exist.

    A last line that was cut off is ignored. Any other that is no row is left out with a warning: a machine that goes
    down may leave a hole in a file.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True), 1):
        row = _row_of(line)
        if row is not None:
            rows.append(row)
        elif line.endswith("\n"):
            _log.warning("%s: line %d is left out: expected an object with a step; got %.60r", path, number, line)
    return rows if until is None else [row for row in rows if row["step"] <= until]


def _row_of(line: str) -> dict[str, Any] | None:
    """The row in a line; None where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
