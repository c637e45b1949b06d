"""What performance.md asks of the operators on an H200, by family, dtype and layout."""

from __future__ import annotations

from benchmarks.case import Case, Goal

MICRO = 1e-3  # milliseconds


def goal_of(case: Case) -> Goal:
    """No goal for what is not named there: float32 stands for itself, a half type for the other."""
    op, half, channels_last = case.op, case.dtype in ("float16", "bfloat16"), case.layout == "NHWC"
    if op.startswith("box head P2..P5 backward"):
        return Goal(ratio=5, milliseconds=None if half else 165 * MICRO)
    if op.startswith("box head P2..P5 7x7 s=2"):
        return Goal(ratio=6, milliseconds=(110 if half else 200) * MICRO) if channels_last else Goal(ratio=2)
    if op.startswith("nms "):
        limits = {"1000": 15, "4000": 40, "12000": 120}
        return Goal(ratio=10, milliseconds=limits[op.split()[1]] * MICRO) if op.split()[1] in limits else Goal()
    if op == "RPN post-processing":
        return Goal(ratio=15, milliseconds=60 * MICRO)
    if "to bool" in op:
        return Goal(ratio=100, milliseconds=35 * MICRO)
    if "to RLE" in op:
        return Goal(milliseconds=20 * MICRO)
    if op.startswith("match anchors"):
        return Goal(ratio=5)
    if "training step" in op and half:
        images = int(op.split(", ")[1].split()[0])
        return Goal(milliseconds=images / 200 * 1e3)
    if ("CUDA graph" in op or "optimised" in op) and half:
        images = int(op.split(", ")[1].split()[0])
        return Goal(milliseconds=4.0 if images == 1 else images / 450 * 1e3)
    return Goal()
