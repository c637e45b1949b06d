"""The tensors of detectron2's models, by name and shape, written down from its layers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclass(frozen=True)
class Kind:
    """A model of the zoo, or a narrow one that is made like it."""

    neck: str = "fpn"  # or "c4", "dc5"
    depth: int = 50
    groups: int = 1
    group_width: int = 64
    boxes: bool = True
    masks: bool = True
    keypoints: bool = False
    norm: str = "FrozenBN"  # or "SyncBN", "GN": then of all parts, with the head of four convolutions
    agnostic: bool = False  # one box and one mask for all classes
    classes: int = 80
    width: int = 64  # of the stem
    channels: int = 256  # of the pyramid and the mask head
    hidden: int = 1024
    keypoint_channels: int = 512


ZOO = {
    "mask_rcnn_R_50_FPN": Kind(),
    "mask_rcnn_R_101_FPN": Kind(depth=101),
    "mask_rcnn_X_101_32x8d_FPN": Kind(depth=101, groups=32, group_width=8),
    "mask_rcnn_R_50_C4": Kind(neck="c4"),
    "mask_rcnn_R_50_DC5": Kind(neck="dc5"),
    "faster_rcnn_R_50_FPN": Kind(masks=False),
    "faster_rcnn_R_50_C4": Kind(neck="c4", masks=False),
    "keypoint_rcnn_R_50_FPN": Kind(masks=False, keypoints=True, classes=1),
    "rpn_R_50_FPN": Kind(boxes=False, masks=False),
    "rpn_R_50_C4": Kind(neck="c4", boxes=False, masks=False),
    "mask_rcnn_R_50_FPN_gn": Kind(norm="GN"),
    "mask_rcnn_R_50_FPN_syncbn": Kind(norm="SyncBN"),
}


def shapes(kind: Kind) -> dict[str, Shape]:
    """{name: shape} of all tensors that a file of the zoo holds, but for the stale ones of old files."""
    fpn = kind.neck == "fpn"
    bottom_up = "backbone.bottom_up." if fpn else "backbone."
    tensors = dict(_conv(f"{bottom_up}stem.conv1", kind.width, 3, 7, kind.norm))
    for stage in (2, 3, 4) if kind.neck == "c4" else (2, 3, 4, 5):
        tensors |= _stage(f"{bottom_up}res{stage}", stage, kind)
    channels = kind.width * {"fpn": 0, "c4": 16, "dc5": 32}[kind.neck]
    if fpn:
        channels, norm = kind.channels, "" if kind.norm == "FrozenBN" else kind.norm
        for stage in (2, 3, 4, 5):
            tensors |= _conv(f"backbone.fpn_lateral{stage}", channels, kind.width * 2**stage, 1, norm)
            tensors |= _conv(f"backbone.fpn_output{stage}", channels, channels, 3, norm)
    anchors = 3 if fpn else 15
    tensors |= _conv("proposal_generator.rpn_head.conv", channels, channels, 3, "")
    tensors |= _conv("proposal_generator.rpn_head.objectness_logits", anchors, channels, 1, "")
    tensors |= _conv("proposal_generator.rpn_head.anchor_deltas", anchors * 4, channels, 1, "")
    return tensors | _heads(kind, channels) if kind.boxes else tensors


def _heads(kind: Kind, channels: int) -> dict[str, Shape]:
    tensors: dict[str, Shape] = {}
    norm = "" if kind.norm == "FrozenBN" else kind.norm
    if kind.neck == "c4":
        tensors |= _stage("roi_heads.res5", 5, kind)
        channels = features = kind.width * 32
    else:
        for index in range(1, 5) if norm else ():
            tensors |= _conv(f"roi_heads.box_head.conv{index}", kind.channels, channels, 3, norm)
        features = channels * 49
        for index in (1,) if norm else (1, 2):
            tensors |= _linear(f"roi_heads.box_head.fc{index}", kind.hidden, features)
            features = kind.hidden
    tensors |= _linear("roi_heads.box_predictor.cls_score", kind.classes + 1, features)
    tensors |= _linear("roi_heads.box_predictor.bbox_pred", 4 * (1 if kind.agnostic else kind.classes), features)
    if kind.masks:
        inputs = channels
        for index in range(1, 5) if kind.neck != "c4" else ():
            tensors |= _conv(f"roi_heads.mask_head.mask_fcn{index}", kind.channels, inputs, 3, norm)
            inputs = kind.channels
        tensors["roi_heads.mask_head.deconv.weight"] = (inputs, kind.channels, 2, 2)
        tensors["roi_heads.mask_head.deconv.bias"] = (kind.channels,)
        tensors |= _conv("roi_heads.mask_head.predictor", 1 if kind.agnostic else kind.classes, kind.channels, 1, "")
    if kind.keypoints:
        inputs = channels
        for index in range(1, 9):
            tensors |= _conv(f"roi_heads.keypoint_head.conv_fcn{index}", kind.keypoint_channels, inputs, 3, "")
            inputs = kind.keypoint_channels
        tensors["roi_heads.keypoint_head.score_lowres.weight"] = (inputs, 17, 4, 4)
        tensors["roi_heads.keypoint_head.score_lowres.bias"] = (17,)
    return tensors


def _stage(prefix: str, stage: int, kind: Kind) -> dict[str, Shape]:
    growth = 2 ** (stage - 2)
    outputs = kind.width * 4 * growth
    inner = kind.width * kind.group_width // 64 * kind.groups * growth
    inputs = kind.width if stage == 2 else outputs // 2
    tensors: dict[str, Shape] = {}
    for block in range(BLOCKS[kind.depth][stage - 2]):
        name = f"{prefix}.{block}"
        if block == 0:
            tensors |= _conv(f"{name}.shortcut", outputs, inputs, 1, kind.norm)
        tensors |= _conv(f"{name}.conv1", inner, inputs, 1, kind.norm)
        tensors |= _conv(f"{name}.conv2", inner, inner // kind.groups, 3, kind.norm)
        tensors |= _conv(f"{name}.conv3", outputs, inner, 1, kind.norm)
        inputs = outputs
    return tensors


def _conv(name: str, outputs: int, inputs: int, side: int, norm: str) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs, side, side)
    if not norm:
        yield f"{name}.bias", (outputs,)
        return
    yield f"{name}.norm.weight", (outputs,)
    yield f"{name}.norm.bias", (outputs,)
    if norm != "GN":
        yield f"{name}.norm.running_mean", (outputs,)
        yield f"{name}.norm.running_var", (outputs,)
    if norm == "SyncBN":
        yield f"{name}.norm.num_batches_tracked", ()


def _linear(name: str, outputs: int, inputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def stale_tensors(neck: str) -> dict[str, np.ndarray]:
    """What old files hold although it follows from the configuration."""
    levels, sizes = (5, 3) if neck == "fpn" else (1, 15)
    cells = {
        f"proposal_generator.anchor_generator.cell_anchors.{level}": np.zeros((sizes, 4), np.float32)
        for level in range(levels)
    }
    return cells | {"pixel_mean": np.zeros((3, 1, 1), np.float32), "pixel_std": np.ones((3, 1, 1), np.float32)}


def random_state(kind: Kind, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values with which the signal neither dies nor explodes, and with which the model detects something."""
    rng = np.random.default_rng(seed)
    state = {name: _random_tensor(name, shape, rng) for name, shape in shapes(kind).items()}
    for name, values in state.items():
        if kind.groups == 1 and name.endswith("stem.conv1.weight"):  # a plain ResNet sees pixels in 0..255
            values /= 60
        if kind.neck == "c4" and ".box_predictor." in name:  # behind stage 5 there is nothing that would damp it
            values *= 0.2
    return state


def _random_tensor(name: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=shape)
    if name.endswith("num_batches_tracked"):
        values = np.array(7)
    elif name.endswith(("running_var", "norm.weight")):
        values = rng.uniform(0.7, 1.4, shape) * (0.3 if ".conv3.norm.weight" in name else 1.0)
    elif len(shape) == 1:
        values *= 0.2
    else:
        values *= np.sqrt(2 / np.prod(shape[1:]))
        for part, gain in _GAINS.items():
            values *= gain if part in name else 1.0
    return np.asarray(values).astype(np.int64 if name.endswith("num_batches_tracked") else np.float32)


# Outputs shall differ from place to place, but not by so much that all scores are 0 or 1.
_GAINS = {
    "fpn_lateral": 0.1,
    "rpn_head.conv": 0.3,
    "anchor_deltas": 0.3,
    "box_head.fc1": 0.3,
    "cls_score": 0.5,
    "bbox_pred": 0.2,
    "mask_head.predictor": 2.0,
    "conv_fcn": 0.7,
    "score_lowres": 0.5,
}
