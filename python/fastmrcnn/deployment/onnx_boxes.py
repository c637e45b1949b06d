"""Anchors, proposals and detections in ONNX's standard operators; see :mod:`.onnx_values`."""

from __future__ import annotations

from collections.abc import Sequence

from fastmrcnn.deployment.onnx_values import (
    INT64,
    Value,
    as_float,
    columns,
    constant,
    counting,
    ints,
    number,
    op,
    size_of,
)
from fastmrcnn.ops import generate_anchors as make_anchors

# The score of a candidate that is out. NonMaxSuppression takes what lies strictly above a threshold.
OUT, THRESHOLD = -3e38, -1e38


def generate_anchors(
    feature_size: Sequence[Value],
    stride: Sequence[Value],
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    rounded: bool,
    sizes_first: bool,
    _dtype: int,
    _device: str,
) -> Value:
    """The anchors of one level, [H * W * A, 4] float32: those of a cell, moved to all of them."""
    [of_cell] = make_anchors(
        (1, 1), [(1, 1)], [(1, 1)], [sizes], [aspect_ratios], rounded=rounded, sizes_first=sizes_first
    )
    height, width = (op.Reshape(side, ints(1)) for side in feature_size)
    vertical, horizontal = (as_float(op.Reshape(step, ints(1))) for step in stride)
    cells = op.Concat(height, width, ints(1), axis=0)
    y = op.Expand(op.Unsqueeze(op.Mul(as_float(counting(height)), vertical), ints(1, 2)), cells)  # [H, W, 1]
    x = op.Expand(op.Unsqueeze(op.Mul(as_float(counting(width)), horizontal), ints(0, 2)), cells)
    moves = op.Unsqueeze(op.Concat(x, y, x, y, axis=2), ints(2))  # [H, W, 1, 4]
    return op.Reshape(op.Add(moves, constant(of_cell)), ints(-1, 4))


def generate_proposals(
    logits: Sequence[Value],
    deltas: Sequence[Value],
    anchors: Sequence[Value],
    image_sizes: Value,
    pre_nms: int,
    post_nms: int,
    nms_iou: float,
    min_size: float,
    score_threshold: float,
    weights: Sequence[float],
    clip: float,
) -> tuple[Value, Value, Value]:
    """Boxes [B, P, 4], scores [B, P] and counts [B]: the best of each level, thinned, and of these the best of all."""
    boxes_of_levels, scores_of_levels = [], []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        scores = op.Squeeze(_by_anchor(level_logits, 1), ints(2))  # [B, N]
        scores, chosen = op.TopK(scores, op.Min(ints(pre_nms), size_of(scores, 1)))  # [B, K]
        moves = op.GatherND(_by_anchor(level_deltas, 4), op.Unsqueeze(chosen, ints(2)), batch_dims=1)  # [B, K, 4]
        boxes = _decode(moves, op.Gather(level_anchors, chosen), op.Unsqueeze(image_sizes, ints(1)), weights, clip)
        likely = op.GreaterOrEqual(op.Sigmoid(scores), number(score_threshold))
        scores = op.Where(op.And(likely, _is_large(boxes, min_size)), scores, number(OUT))
        boxes_of_levels.append(boxes)
        scores_of_levels.append(_thin(boxes, scores, nms_iou, post_nms))
    scores, chosen, filled, counts = _take_best(op.Concat(*scores_of_levels, axis=1), post_nms)
    boxes = _rows(op.Concat(*boxes_of_levels, axis=1), chosen, filled)
    return boxes, op.Where(filled, op.Sigmoid(scores), number(0)), counts


def select_detections(
    logits: Value,
    deltas: Value,
    proposals: Value,
    counts: Value | None,
    image_sizes: Value,
    score_threshold: float,
    nms_iou: float,
    detections: int,
    min_size: float,
    weights: Sequence[float],
    clip: float,
) -> tuple[Value, Value, Value, Value, Value]:
    """Boxes [B, D, 4], scores, labels and rows [B, D] and counts [B]; suppression within each class."""
    scores = op.Softmax(logits, axis=2)
    scores = op.Slice(scores, ints(1), size_of(scores, 2), ints(2))  # [B, P, C]: without the background
    classes = size_of(scores, 2)
    moves = op.Reshape(deltas, ints(0, 0, -1, 4))  # [B, P, C + 1, 4], or [B, P, 1, 4] for all classes
    if deltas.shape[2] != 4:
        moves = op.Slice(moves, ints(1), size_of(moves, 2), ints(2))
    boxes = _decode(moves, op.Unsqueeze(proposals, ints(2)), op.Unsqueeze(image_sizes, ints(1, 2)), weights, clip)
    likely = op.And(op.Greater(scores, number(score_threshold)), _is_large(boxes, min_size))
    if counts is not None:
        filled = op.Less(counting(size_of(scores, 1)), op.Unsqueeze(counts, ints(1)))  # [B, P]
        likely = op.And(likely, op.Unsqueeze(filled, ints(2)))
    scores = op.Where(likely, scores, number(OUT))
    boxes = op.Expand(boxes, op.Concat(op.Shape(scores), ints(4), axis=0))  # [B, P, C, 4]
    scores = _thin_classes(boxes, scores, nms_iou, detections)
    # Of equal scores the first in the order of proposal and class.
    scores, chosen, filled, found = _take_best(op.Reshape(scores, ints(0, -1)), detections)
    none = ints(0)
    return (
        _rows(op.Reshape(boxes, ints(0, -1, 4)), chosen, filled),
        op.Where(filled, scores, number(0)),
        op.Where(filled, op.Add(op.Mod(chosen, classes), ints(1)), none),
        op.Where(filled, op.Div(chosen, classes), none),
        found,
    )


def _by_anchor(level: Value, numbers: int) -> Value:
    """The head's output of one level, [B, A * numbers, H, W], anchor by anchor: [B, H * W * A, numbers]."""
    return op.Reshape(op.Transpose(level, perm=[0, 2, 3, 1]), ints(0, -1, numbers))


def _decode(deltas: Value, boxes: Value, image_sizes: Value, weights: Sequence[float], clip: float) -> Value:
    """Offsets [..., 4] of boxes [..., 4], decoded and cut off at images [..., 2] (height, width)."""
    corner, opposite = columns(boxes, 0, 2), columns(boxes, 2, 4)
    sides = op.Sub(opposite, corner)
    offsets = op.Div(deltas, op.Constant(value_floats=list(weights)))
    centres = op.Add(op.Mul(columns(offsets, 0, 2), sides), op.Add(corner, op.Mul(number(0.5), sides)))
    growth = op.Exp(op.Min(columns(offsets, 2, 4), number(clip)))
    half_sides = op.Mul(number(0.5), op.Mul(growth, sides))
    limits = as_float(op.Concat(columns(image_sizes, 1, 2), columns(image_sizes, 0, 1), axis=-1))
    corners = (op.Sub(centres, half_sides), op.Add(centres, half_sides))
    return op.Concat(*(op.Min(op.Max(corner, number(0)), limits) for corner in corners), axis=-1)


def _is_large(boxes: Value, min_size: float) -> Value:
    """Whether no side of [..., 4] is shorter than ``min_size``: [...] bool."""
    sides = op.Sub(columns(boxes, 2, 4), columns(boxes, 0, 2))
    return op.GreaterOrEqual(op.ReduceMin(sides, ints(-1), keepdims=0), number(min_size))


def _thin(boxes: Value, scores: Value, iou: float, most: int) -> Value:
    """The scores [B, N] of boxes [B, N, 4] with those of suppressed ones, and of all behind the best ``most``, out."""
    kept = op.NonMaxSuppression(
        boxes, op.Unsqueeze(scores, ints(1)), ints(most), number(min(iou, 1.0)), number(THRESHOLD)
    )
    places = op.Gather(kept, ints(0, 2), axis=1)  # [M, 2]: image and box
    return op.ScatterND(op.Expand(number(OUT), op.Shape(scores)), places, op.GatherND(scores, places))


def _thin_classes(boxes: Value, scores: Value, iou: float, most: int) -> Value:
    """:func:`_thin` within each class: boxes [B, P, C, 4], scores [B, P, C]."""
    by_class = op.Transpose(scores, perm=[0, 2, 1])  # [B, C, P]
    rows = op.Concat(ints(-1), size_of(scores, 1), axis=0)
    thinned = _thin(
        op.Reshape(op.Transpose(boxes, perm=[0, 2, 1, 3]), op.Concat(rows, ints(4), axis=0)),
        op.Reshape(by_class, rows),
        iou,
        most,
    )
    return op.Transpose(op.Reshape(thinned, op.Shape(by_class)), perm=[0, 2, 1])


def _take_best(scores: Value, capacity: int) -> tuple[Value, Value, Value, Value]:
    """The greatest of scores [B, N]: values and places [B, capacity], which of them are not out, and their number [B].

    Of equal ones the first come first.
    """
    spare = op.Expand(number(OUT), op.Concat(size_of(scores, 0), ints(capacity), axis=0))
    best, places = op.TopK(op.Concat(scores, spare, axis=1), ints(capacity))
    filled = op.Greater(best, number(THRESHOLD))
    places = op.Where(filled, places, ints(0))
    return best, places, filled, op.ReduceSum(op.Cast(filled, to=INT64), ints(1), keepdims=0)


def _rows(boxes: Value, places: Value, filled: Value) -> Value:
    """The boxes [B, D, 4] at places [B, D] of [B, N, 4], zeros where not filled."""
    taken = op.GatherND(boxes, op.Unsqueeze(places, ints(2)), batch_dims=1)
    return op.Where(op.Unsqueeze(filled, ints(2)), taken, number(0))
