"""Keypoints from heatmaps in ONNX's standard operators; see :mod:`.onnx_values`."""

from __future__ import annotations

from onnxscript import FLOAT, script
from onnxscript.values import Opset

from fastmrcnn.deployment.onnx_values import op


@script(Opset("fastmrcnn", 1))  # dissolved into the graph before it is written
def decode_keypoints(heatmaps: FLOAT, boxes: FLOAT) -> FLOAT:
    """x, y, logit and probability of each keypoint, [N, K, 4]: heatmaps [N, K, H, W] read at the resolutions of their
    boxes [N, 4], one region after the other, as their sizes differ."""
    decoded = op.Expand(0.0, op.Concat([0], op.Shape(heatmaps, start=1, end=2), [4], axis=0))
    count = op.Squeeze(op.Shape(boxes, start=0, end=1))
    for index in range(count):
        heatmap = op.Gather(heatmaps, op.Unsqueeze(index, [0]))  # [1, K, H, W]
        box = op.Gather(boxes, index)
        sides = op.Max(op.Slice(box, [2], [4]) - op.Slice(box, [0], [2]), 1.0)  # width, height
        points = op.Min(op.Ceil(sides), 4096.0)
        sizes = op.Cast(op.Gather(points, [1, 0]), to=7)
        wide = op.Resize(heatmap, None, None, op.Concat(op.Shape(heatmap, start=0, end=2), sizes, axis=0), mode="cubic")
        wide = op.Reshape(wide, [0, 0, -1])
        logit = op.ReduceMax(wide, [2], keepdims=1)  # [1, K, 1]
        place = op.ArgMax(wide, axis=2, keepdims=1)
        columns = op.Slice(sizes, [1], [2])
        place = op.Cast(op.Concat(op.Mod(place, columns), place / columns, axis=2), to=1)  # [1, K, 2]
        position = (place + 0.5) * (sides / points) + op.Slice(box, [0], [2])
        cells = op.Reshape(heatmap, [0, 0, -1])
        greatest = op.ReduceMax(cells, [2], keepdims=1)
        total = op.ReduceSum(op.Exp(cells - greatest), [2], keepdims=1)
        probability = op.Exp(logit - greatest) / total
        decoded = op.Concat(decoded, op.Concat(position, logit, probability, axis=2), axis=0)
    return decoded  # type: ignore[no-any-return]
