"""Every architecture that a configuration can name, at a width that makes it fast and leaves out no part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastmrcnn.models import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    FPNConfig,
    InputConfig,
    KeypointHeadConfig,
    MaskHeadConfig,
    MaskRCNN,
    MaskRCNNConfig,
    PoolerConfig,
    RPNConfig,
    presets,
)
from fastmrcnn.models.config import Norm
from tests.models.small import images_of

NAMES = ("disc", "box")
SINGLE_MAP = AnchorConfig(sizes=((16, 32, 64, 128),))


def pyramid_pooler(size: int = 7, **options: Any) -> PoolerConfig:
    return PoolerConfig(size, sampling_ratio=2, canonical_scale=56.0, **options)  # RoIs from all of P2..P5


def with_pyramid(
    depth: Any = 18,
    *,
    norm: Norm = "bn",
    pooling: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    box_head: dict[str, Any] | None = None,
    mask_head: dict[str, Any] | None = None,
) -> MaskRCNNConfig:
    """FPN, two fully connected layers and a small mask head; the mappings replace fields."""
    pooling = pooling or {}
    return MaskRCNNConfig(
        NAMES,
        input=InputConfig(min_size=64, max_size=128, enlarge=False),
        backbone=BackboneConfig(depth=depth, width=8, norm=norm, **backbone or {}),
        fpn=FPNConfig(channels=8),
        rpn=RPNConfig(
            anchors=AnchorConfig(sizes=((8,), (16,), (32,), (64,), (128,))),
            samples=64,
            pre_nms_train=100,
            pre_nms_test=100,
            post_nms_train=60,
            post_nms_test=60,
        ),
        box_head=dataclasses.replace(
            BoxHeadConfig(pyramid_pooler(**pooling), channels=8, hidden=16, samples=32, detections=20),
            **box_head or {},
        ),
        mask_head=dataclasses.replace(
            MaskHeadConfig(pyramid_pooler(14, **pooling), channels=8, convolutions=2), **mask_head or {}
        ),
    )


def on_stage_4(method: Any = "roi_align", norm: Norm = "bn", depth: Any = 50) -> MaskRCNNConfig:
    """He et al. 2016: stage 5 is the trunk of the heads, whose predictors read the mean of its cells."""
    pyramid, pooler = with_pyramid(depth, norm=norm), PoolerConfig(14, method=method, sampling_ratio=2)
    return dataclasses.replace(
        pyramid,
        neck="c4",
        rpn=dataclasses.replace(pyramid.rpn, anchors=SINGLE_MAP, channels=16),
        box_head=dataclasses.replace(pyramid.box_head, pooler=pooler, fully_connected=0),
        mask_head=dataclasses.replace(pyramid.mask_head, pooler=pooler, convolutions=0),
    )


def on_stage_5(method: Any = "roi_align", *, dilated: bool = True) -> MaskRCNNConfig:
    """DC5: the heads of a pyramid on the one map of the last stage."""
    pyramid = with_pyramid(50, pooling={"method": method}, backbone={"dilated": dilated})
    return dataclasses.replace(pyramid, neck="c5", rpn=dataclasses.replace(pyramid.rpn, anchors=SINGLE_MAP))


def normalised(norm: Norm) -> MaskRCNNConfig:
    """One normalisation wherever one can stand, in heads like those of torchvision's second versions."""
    config = with_pyramid(
        norm=norm,
        box_head={"convolutions": 2, "norm": norm, "fully_connected": 1, "fully_connected_norm": norm},
        mask_head={"norm": norm},
    )
    rpn = dataclasses.replace(config.rpn, convolutions=2)
    return dataclasses.replace(config, fpn=dataclasses.replace(config.fpn, norm=norm), rpn=rpn)


def with_keypoints(config: MaskRCNNConfig) -> MaskRCNNConfig:
    """Beside the masks, of the same regions."""
    assert config.mask_head is not None
    head = KeypointHeadConfig(("top", "bottom"), config.mask_head.pooler, channels=8, convolutions=2)
    return dataclasses.replace(config, keypoint_head=head)


def narrow(config: MaskRCNNConfig) -> MaskRCNNConfig:
    """A preset with few channels, for small images: its mathematics, at a hundredth of its time."""
    anchors = config.rpn.anchors
    sizes = tuple(tuple(size / 4 for size in level) for level in anchors.sizes)
    square = config.input.frame == "centred_square"
    changes: dict[str, dict[str, Any]] = {
        "input": {"min_size": 64, "max_size": 128, "train_min_sizes": (), "size_divisor": 64 if square else 32},
        "backbone": {"width": 8},
        "fpn": {"channels": 8},
        "rpn": {
            "anchors": dataclasses.replace(anchors, sizes=sizes),
            "channels": 8,
            **dict.fromkeys(("pre_nms_train", "pre_nms_test"), 100),
            **dict.fromkeys(("post_nms_train", "post_nms_test"), 60),
            "samples": 64,
        },
        "box_head": {"channels": 8, "hidden": 16, "samples": 32, "detections": 20, "score_threshold": 0.05},
        "mask_head": {"channels": 8},
        "keypoint_head": {"channels": 8, "convolutions": 2, "keypoint_names": ("top", "bottom")},
    }
    parts = {}
    for name, fields in changes.items():
        part = getattr(config, name)
        if hasattr(part, "pooler"):
            fields = fields | {"pooler": dataclasses.replace(part.pooler, canonical_scale=56.0)}
        parts[name] = None if part is None else dataclasses.replace(part, **fields)
    return dataclasses.replace(config, **parts)


def without(config: MaskRCNNConfig, *parts: str) -> MaskRCNNConfig:
    return dataclasses.replace(config, **dict.fromkeys(parts, None))


ARCHITECTURES: dict[str, MaskRCNNConfig] = {
    "resnet18": with_pyramid(18),
    "resnet34": with_pyramid(34),
    "resnet50": with_pyramid(50),
    "resnet101": with_pyramid(101),
    "resnet152": with_pyramid(152),
    "resnext101": with_pyramid(101, backbone={"groups": 4, "group_width": 16}),
    "c4": on_stage_4(),
    "c4 of basic blocks": on_stage_4(depth=18),
    "dc5": on_stage_5(),
    "c5": on_stage_5(dilated=False),
    "faster": without(with_pyramid(), "mask_head"),
    "faster c4": without(on_stage_4(), "mask_head"),
    "rpn": without(with_pyramid(), "mask_head", "box_head"),
    "rpn c4": without(on_stage_4(), "mask_head", "box_head"),
    "bn everywhere": normalised("bn"),
    "sync_bn everywhere": normalised("sync_bn"),
    "gn everywhere": normalised("gn"),
    "frozen_bn everywhere": normalised("frozen_bn"),
    "roi_pool": with_pyramid(pooling={"method": "roi_pool"}),
    "roi_pool c4": on_stage_4("roi_pool"),
    "roi_pool dc5": on_stage_5("roi_pool"),
    "class-agnostic boxes": with_pyramid(box_head={"class_agnostic": True}),
    "class-agnostic masks": with_pyramid(mask_head={"class_agnostic": True}),
    "softmax": with_pyramid(mask_head={"activation": "softmax"}),
    "mlp": with_pyramid(mask_head={"predictor": "mlp", "convolutions": 0}),
    "mlp, softmax": with_pyramid(mask_head={"predictor": "mlp", "activation": "softmax"}),
    "mlp, class-agnostic": with_pyramid(mask_head={"predictor": "mlp", "class_agnostic": True}),
    "mlp c4": dataclasses.replace(
        on_stage_4(), mask_head=dataclasses.replace(on_stage_4().mask_head, predictor="mlp", hidden=16)
    ),
    "keypoints": with_keypoints(with_pyramid()),
    "keypoints alone": without(with_keypoints(with_pyramid()), "mask_head"),
    "keypoints c4": with_keypoints(on_stage_4()),
    "every ablation": with_pyramid(
        pooling={"method": "roi_pool"},
        box_head={"class_agnostic": True},
        mask_head={"predictor": "mlp", "activation": "softmax"},
    ),
    "crop_and_resize dc5": dataclasses.replace(on_stage_5("crop_and_resize"), box_corners="pixels"),
    "torchvision": narrow(presets.torchvision_resnet50_fpn(NAMES)),
    "torchvision v2": narrow(presets.torchvision_resnet50_fpn_v2(NAMES)),
    "torchvision faster": narrow(presets.torchvision_fasterrcnn_resnet50_fpn(NAMES)),
    "torchvision keypoints": narrow(presets.torchvision_keypointrcnn_resnet50_fpn(NAMES)),
    "detectron2": narrow(presets.detectron2_rcnn(NAMES, resnext=True, depth=101)),
    "detectron2 c4": narrow(presets.detectron2_rcnn(NAMES, neck="c4")),
    "detectron2 dc5": narrow(presets.detectron2_rcnn(NAMES, neck="c5")),
    "detectron2 keypoints": narrow(presets.detectron2_rcnn(NAMES, masks=False, keypoints=True)),
    "matterport": narrow(presets.matterport_resnet_fpn(NAMES, depth=50)),
}


def model_of(config: MaskRCNNConfig) -> MaskRCNN:
    """A model whose scores, boxes and masks vary, in evaluation mode: fresh predictors say the same of every region."""
    torch.manual_seed(0)
    model, images = MaskRCNN(config).eval(), images_of((64, 96), (90, 60))
    # In the order of the network: what a layer reads depends on the layers before.
    layers: list[tuple[nn.Module, float]] = [(model.rpn.head.objectness, 2.0), (model.rpn.head.deltas, 0.2)]
    if model.roi_heads is not None:
        layers += [(model.roi_heads.box_head.classifier, 2.0), (model.roi_heads.box_head.deltas, 0.5)]
        if model.roi_heads.mask_head is not None:
            layers.append((model.roi_heads.mask_head.logits, 2.0))
        if model.roi_heads.keypoint_head is not None:
            model.roi_heads.keypoint_head.upsample.weight.data.mul_(10)
    with ExitStack() as stack:
        if model.roi_heads is not None and model.roi_heads.mask_head is not None:
            stack.enter_context(drawing_every_class(model.roi_heads.mask_head))
        for layer, deviation in layers:
            standardise(layer, deviation, lambda: model.detect_padded(images))
    return model


@contextmanager
def drawing_every_class(head: nn.Module) -> Iterator[None]:
    """A mask head that calls its layer of logits, which it need not where one class is asked for."""
    handle = head.register_forward_pre_hook(
        lambda _, inputs, named: (inputs, named | {"labels": None}), with_kwargs=True
    )
    yield
    handle.remove()


@torch.no_grad()
def standardise(layer: Any, deviation: float, run: Callable[[], object]) -> None:
    """Scale and shift ``layer`` so that each of its outputs, while ``run`` runs, has mean 0 and this deviation."""
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, out: outputs.append(out.movedim(1, -1)))
    run()
    handle.remove()
    values = torch.cat([out.flatten(0, -2) for out in outputs])  # [samples, outputs]
    scale = deviation / values.std(dim=0)
    layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.sub_(values.mean(dim=0)).mul_(scale)
