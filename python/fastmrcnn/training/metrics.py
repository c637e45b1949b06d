"""metrics.jsonl: one JSON object per line, of a training step or of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastmrcnn.files import finite, write_text


class MetricsLog:
    """Appends rows to a JSON-lines file, each flushed whole, so that other programs can follow a run.

    Rows of training have ``step``, ``epoch``, ``learning_rate``, ``loss`` and the five losses, ``gradient_norm``,
    ``images_per_second`` and ``seconds``; rows of an evaluation ``step``, ``box_ap``, ``mask_ap`` and ``mask_ap50``.
    """

    def __init__(self, path: Path, *, first_step: int = 0) -> None:
        """Open ``path``; rows after ``first_step`` finished steps (written by a run that was cut short) are dropped."""
        self.kept = [row for row in read_metrics(path) if row["step"] <= first_step]
        write_text(path, "".join(_line(row) for row in self.kept))
        self._stream = path.open("a", encoding="utf-8")

    def __enter__(self) -> MetricsLog:
        return self

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(_line(row))
        self._stream.flush()

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; none when it does not exist. A last line that was cut off is ignored."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(finite(row)) + "\n"
