"""metrics.jsonl: one JSON object per line, of a training step, a validation or an evaluation.

Rows of training have ``step`` (from 1), ``epoch``, ``learning_rate``, ``loss`` and the losses that it is the sum of,
``gradient_norm``, ``images_per_second``, ``seconds`` (of the step, the wait for its images included), ``data_seconds``
(that wait alone), ``memory_gib`` and, on a GPU, ``gpu_memory_gib``. Rows of an evaluation have ``step``, ``box_ap``,
``mask_ap`` and ``mask_ap50`` (and ``keypoint_ap`` of a model with keypoints), null where there is nothing to measure,
and the losses on the evaluation data: ``val_loss``, and ``val_`` before the name of each that it is the sum of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_metrics(path: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The rows of a metrics file up to step ``until``; none when it does not exist.

    A last line that was cut off is ignored.
    """
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows if until is None else [row for row in rows if row["step"] <= until]
