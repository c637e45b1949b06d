"""What a training run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmrcnn.evaluation import EvaluationResult
from fastmrcnn.models import MaskRCNN


@dataclass(frozen=True)
class TrainResult:
    """What a finished run left behind."""

    # Folder with report.html and curves.png to look at, config.json, metrics.jsonl, metrics.csv, last.safetensors,
    # best.safetensors, checkpoints/ and evaluations/.
    output: Path
    # The trained model, in evaluation mode.
    model: MaskRCNN
    # Optimizer steps of the whole run.
    steps: int
    # Wall-clock seconds of this call, evaluations included.
    seconds: float
    # Training images per second of this call, evaluations excluded.
    images_per_second: float
    # The last evaluation; None without evaluation data.
    evaluation: EvaluationResult | None
    # Rows of metrics.jsonl, see training/metrics.py.
    metrics: list[dict[str, Any]]
