"""The network of Matterport's Mask R-CNN in plain numpy, from weights under the names and in the layout of its files.

Feature maps are [H, W, C], kernels [rows, columns, inputs, outputs]; everything is float64 and one image at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models import matterport_rules as rules
from tests.models.matterport_rules import Array

BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}  # of ResNet-50
MEAN = np.array([123.7, 116.8, 103.9], dtype=np.float32).astype(np.float64)
SCALES, STRIDES, RATIOS = (32, 64, 128, 256, 512), (4, 8, 16, 32, 64), [0.5, 1.0, 2.0]


@dataclass
class Sizes:
    """How large the network is; published ones have 64, 256, 512, 1024 and 80 classes."""

    width: int = 8
    pyramid: int = 8
    rpn: int = 16
    hidden: int = 16
    classes: int = 3


@dataclass
class Found:
    box: NDArray[np.int64]  # y1, x1, y2, x2, px of the original image
    label: int
    score: float
    mask: NDArray[np.bool_]


@dataclass
class Network:
    """The forward pass. While ``measuring``, normalisations take their statistics from what they see, and keep them."""

    weights: dict[str, Array]  # "layer/variable" -> values
    frame: int  # side of the square input, px
    least: int  # shorter side of an image, px
    mean: Array
    confidence: float = 0.7
    before: int = 6000
    after: int = 1000
    detections: int = 100
    measuring: bool = False

    def conv(self, x: Array, name: str, stride: int = 1, padding: int = 0) -> Array:
        kernel, bias = self.weights[f"{name}/kernel"], self.weights[f"{name}/bias"]
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        rows, columns = kernel.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(0, 1))[::stride, ::stride]
        out: Array = np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias
        return out

    def norm(self, x: Array, name: str) -> Array:
        weights, axes = self.weights, tuple(range(x.ndim - 1))
        if self.measuring:
            weights[f"{name}/moving_mean"], weights[f"{name}/moving_variance"] = x.mean(axes), x.var(axes) + 0.01
        scale = weights[f"{name}/gamma"] / np.sqrt(weights[f"{name}/moving_variance"] + 1e-3)
        return (x - weights[f"{name}/moving_mean"]) * scale + weights[f"{name}/beta"]

    def pyramid(self, image: Array) -> list[Array]:
        """P2..P6."""
        x = relu(self.norm(self.conv(image, "conv1", stride=2, padding=3), "bn_conv1"))
        x = max_pool_same(x)
        stages = []
        for stage, letters in BLOCKS.items():
            for letter in letters:
                x = self.block(x, f"{stage}{letter}_branch", stride=2 if letter == "a" and stage > 2 else 1)
            stages.append(x)
        merged = self.conv(stages[3], "fpn_c5p5")
        pyramid = [self.conv(merged, "fpn_p5", padding=1)]
        for level in (4, 3, 2):
            merged = merged.repeat(2, axis=0).repeat(2, axis=1)
            merged = merged + self.conv(stages[level - 2], f"fpn_c{level}p{level}")
            pyramid.insert(0, self.conv(merged, f"fpn_p{level}", padding=1))
        return [*pyramid, pyramid[-1][::2, ::2]]

    def block(self, x: Array, name: str, stride: int) -> Array:
        """A bottleneck that strides in its first 1x1 convolution."""
        inner = relu(self.norm(self.conv(x, f"res{name}2a", stride), f"bn{name}2a"))
        inner = relu(self.norm(self.conv(inner, f"res{name}2b", padding=1), f"bn{name}2b"))
        inner = self.norm(self.conv(inner, f"res{name}2c"), f"bn{name}2c")
        if f"res{name}1/kernel" in self.weights:
            x = self.norm(self.conv(x, f"res{name}1", stride), f"bn{name}1")
        return relu(inner + x)

    def proposals(self, pyramid: list[Array]) -> Array:
        scores, deltas, anchors = [], [], []
        for feature, scale, stride in zip(pyramid, SCALES, STRIDES, strict=True):
            shared = relu(self.conv(feature, "rpn_conv_shared", padding=1))
            scores.append(softmax(self.conv(shared, "rpn_class_raw").reshape(-1, 2))[:, 1])
            deltas.append(self.conv(shared, "rpn_bbox_pred").reshape(-1, 4))
            cells = (feature.shape[0], feature.shape[1])
            anchors.append(rules.anchors_of_level(scale, RATIOS, cells, stride))
        boxes, _ = rules.propose(
            np.concatenate(scores),
            np.concatenate(deltas),
            rules.normalise(np.concatenate(anchors), (self.frame, self.frame)),
            before=self.before,
            after=self.after,
            threshold=0.7,
        )
        return boxes

    def pool(self, pyramid: list[Array], boxes: Array, cells: int) -> list[Array]:
        levels = [rules.level_of(box, (self.frame, self.frame)) for box in boxes]
        return [rules.crop_and_resize(pyramid[level - 2], box, cells) for level, box in zip(levels, boxes, strict=True)]

    def classify(self, pyramid: list[Array], boxes: Array) -> tuple[Array, Array]:
        """Probabilities [N, C + 1] and deltas [N, C + 1, 4]."""
        x = np.stack([self.conv(crop, "mrcnn_class_conv1")[0, 0] for crop in self.pool(pyramid, boxes, 7)])
        x = relu(self.norm(x, "mrcnn_class_bn1"))
        x = np.stack([self.conv(row[None, None], "mrcnn_class_conv2")[0, 0] for row in x])
        x = relu(self.norm(x, "mrcnn_class_bn2"))
        return softmax(self.dense(x, "mrcnn_class_logits")), self.dense(x, "mrcnn_bbox_fc").reshape(len(x), -1, 4)

    def dense(self, x: Array, name: str) -> Array:
        out: Array = x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"]
        return out

    def masks(self, pyramid: list[Array], boxes: Array) -> Array:
        """[N, 28, 28, C + 1]."""
        x = np.stack(self.pool(pyramid, boxes, 14))
        for layer in (1, 2, 3, 4):
            x = np.stack([self.conv(crop, f"mrcnn_mask_conv{layer}", padding=1) for crop in x])
            x = relu(self.norm(x, f"mrcnn_mask_bn{layer}"))
        x = np.stack([relu(self.upsample(crop, "mrcnn_mask_deconv")) for crop in x])
        return np.stack([1 / (1 + np.exp(-self.conv(crop, "mrcnn_mask"))) for crop in x])

    def upsample(self, x: Array, name: str) -> Array:
        """A deconvolution of stride two, whose kernels [2, 2, outputs, inputs] do not overlap."""
        blocks = np.einsum("hwc,ijoc->hiwjo", x, self.weights[f"{name}/kernel"])
        return blocks.reshape(2 * x.shape[0], 2 * x.shape[1], -1) + self.weights[f"{name}/bias"]

    def detect(self, image: NDArray[np.uint8]) -> list[Found]:
        frame, original = (self.frame, self.frame), (image.shape[0], image.shape[1])
        pixels, window = rules.mould(image, self.least, self.frame, self.mean)
        pyramid = self.pyramid(pixels)
        boxes = self.proposals(pyramid)
        probabilities, deltas = self.classify(pyramid, boxes)
        inner = rules.normalise(window.astype(np.float64), frame)
        selected = rules.select(
            boxes, probabilities, deltas, inner, confidence=self.confidence, threshold=0.3, most=self.detections
        )
        if not selected:
            return []
        masks = self.masks(pyramid, np.stack([box for box, _, _ in selected]))
        found = []
        for (box, label, score), mask in zip(selected, masks, strict=True):
            whole = rules.unmould_box(box, window, frame, original)
            if (whole[2:] > whole[:2]).all():
                bitmap = rules.unmould_mask(mask[:, :, label], whole, original)
                found.append(Found(whole, label, score, bitmap))
        return found


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Array = powers / powers.sum(axis=-1, keepdims=True)
    return out


def max_pool_same(x: Array) -> Array:
    """3x3, stride two, on sides of even length: windows begin at even pixels and the last one is cut off."""
    x = np.pad(x, ((0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))[::2, ::2]
    return windows.max(axis=(3, 4))


def layer_shapes(sizes: Sizes, blocks: dict[int, str] = BLOCKS) -> dict[str, tuple[int, ...]]:
    """The kernels of every convolution and dense layer, and the channels of every normalisation, by layer."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (7, 7, 3, sizes.width), "bn_conv1": (sizes.width,)}
    inputs = sizes.width
    for stage, letters in blocks.items():
        inner = sizes.width * 2 ** (stage - 2)
        for letter in letters:
            name = f"{stage}{letter}_branch"
            convs = {"2a": (1, 1, inputs, inner), "2b": (3, 3, inner, inner), "2c": (1, 1, inner, 4 * inner)}
            if letter == "a":
                convs["1"] = (1, 1, inputs, 4 * inner)
            for branch, shape in convs.items():
                shapes[f"res{name}{branch}"], shapes[f"bn{name}{branch}"] = shape, shape[-1:]
            inputs = 4 * inner
    pyramid, hidden, outputs, anchors = sizes.pyramid, sizes.hidden, sizes.classes + 1, len(RATIOS)
    for level in (2, 3, 4, 5):
        shapes[f"fpn_c{level}p{level}"] = (1, 1, sizes.width * 2**level, pyramid)
        shapes[f"fpn_p{level}"] = (3, 3, pyramid, pyramid)
        shapes[f"mrcnn_mask_conv{level - 1}"], shapes[f"mrcnn_mask_bn{level - 1}"] = (
            (3, 3, pyramid, pyramid),
            (pyramid,),
        )
    shapes["rpn_conv_shared"] = (3, 3, pyramid, sizes.rpn)
    shapes["rpn_class_raw"] = (1, 1, sizes.rpn, 2 * anchors)
    shapes["rpn_bbox_pred"] = (1, 1, sizes.rpn, 4 * anchors)
    shapes["mrcnn_class_conv1"], shapes["mrcnn_class_bn1"] = (7, 7, pyramid, hidden), (hidden,)
    shapes["mrcnn_class_conv2"], shapes["mrcnn_class_bn2"] = (1, 1, hidden, hidden), (hidden,)
    shapes["mrcnn_class_logits"], shapes["mrcnn_bbox_fc"] = (hidden, outputs), (hidden, 4 * outputs)
    shapes["mrcnn_mask_deconv"] = (2, 2, pyramid, pyramid)
    shapes["mrcnn_mask"] = (1, 1, pyramid, outputs)
    return shapes


def variable_shapes(sizes: Sizes, blocks: dict[int, str] = BLOCKS) -> dict[str, tuple[int, ...]]:
    """Everything that a weights file holds: "layer/variable" -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, shape in layer_shapes(sizes, blocks).items():
        if len(shape) == 1:
            shapes |= {f"{layer}/{name}": shape for name in ("gamma", "beta", "moving_mean", "moving_variance")}
        else:
            shapes |= {f"{layer}/kernel": shape, f"{layer}/bias": shape[-1:]}
    return shapes


def random_weights(sizes: Sizes, seed: int) -> dict[str, Array]:
    """Weights that keep the scale of what flows through the network; the statistics are still to be measured."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in variable_shapes(sizes).items():
        variable = name.rpartition("/")[2]
        if variable == "kernel":
            weights[name] = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif variable == "gamma":
            weights[name] = rng.uniform(0.5, 1.5, shape)
        elif variable.startswith("moving"):
            weights[name] = np.ones(shape)
        else:
            weights[name] = rng.normal(size=shape) * 0.1
    return weights


def decisive_network(image: NDArray[np.uint8], seed: int, **settings: Any) -> Network:
    """A small network with random weights, of float32, whose scores, boxes and masks vary on ``image``."""
    network = Network(random_weights(Sizes(), seed), mean=MEAN, measuring=True, **settings)
    pixels, _ = rules.mould(image, network.least, network.frame, MEAN)
    pyramid = network.pyramid(pixels)
    shared = relu(network.conv(pyramid[0], "rpn_conv_shared", padding=1))
    for layer, spread in (("rpn_class_raw", 1.5), ("rpn_bbox_pred", 2.0)):
        network.weights[f"{layer}/kernel"] *= spread / network.conv(shared, layer).std()
    boxes = network.proposals(pyramid)
    probabilities, deltas = network.classify(pyramid, boxes)
    network.weights["mrcnn_class_logits/kernel"] *= 3 / np.log(probabilities).std()
    network.weights["mrcnn_bbox_fc/kernel"] *= 1 / deltas.std()
    network.weights["mrcnn_mask/kernel"] *= 0.5 / logit(network.masks(pyramid, boxes[:20])).std()
    network.measuring = False
    network.weights = {name: values.astype(np.float32).astype(np.float64) for name, values in network.weights.items()}
    return network


def logit(x: Array) -> Array:
    return np.log(x / (1 - x))
