"""torchvision's models with weights that make them detect something, for comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MIN_SIZE, MAX_SIZE = 160, 224  # of the network's input, px; P5 has odd sides, so P6's stride is not 64
PROPOSALS, DETECTIONS, SAMPLED_ROIS = 300, 30, 96  # an image; torchvision's defaults take minutes on a CPU
LIMITS = {
    "min_size": MIN_SIZE,
    "max_size": MAX_SIZE,
    "rpn_post_nms_top_n_test": PROPOSALS,
    "box_detections_per_img": DETECTIONS,
    "box_batch_size_per_image": SAMPLED_ROIS,
}


def make_peer(
    builder: str = "maskrcnn_resnet50_fpn", *, frozen_norm: bool, num_classes: int = 7, **settings: Any
) -> nn.Module:
    """A model of one of torchvision's builders, for small images, in evaluation mode.

    A freshly initialised network explodes without batch statistics and scores every class alike. So the running
    statistics are measured on noise, and the output layers standardised so that scores, boxes and masks vary.
    """
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    torch.manual_seed(0)
    settings = LIMITS | settings
    plain = getattr(detection, builder)(weights=None, weights_backbone=None, num_classes=num_classes, **settings)
    standardise(plain)
    if not frozen_norm:
        return plain.eval()
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    frozen = type(plain)(backbone, num_classes=num_classes, **settings)
    frozen.load_state_dict({k: v for k, v in plain.state_dict().items() if "num_batches" not in k})
    return frozen.eval()


@torch.no_grad()
def standardise(model: Any) -> None:
    """Measure the statistics of the norms and scale the output layers, part by part in the order of the network: the
    inputs of each depend on those before it."""
    heads = model.roi_heads
    measure_statistics(model.backbone, torch.randn(2, 3, MIN_SIZE, MAX_SIZE))
    model.eval()
    batch, _ = model.transform(noise_images((120, 160), (200, 140)))
    features = model.backbone(batch.tensors)
    rpn = model.rpn.head
    standardise_outputs({rpn.cls_logits: 2.0, rpn.bbox_pred: 0.3}, lambda: rpn(list(features.values())))
    proposals, _ = model.rpn(batch, features)
    regions = heads.box_roi_pool(features, proposals, batch.image_sizes)
    measure_statistics(heads.box_head, regions)
    hidden, box = heads.box_head(regions), heads.box_predictor
    standardise_outputs({box.cls_score: 2.0, box.bbox_pred: 1.0}, lambda: box(hidden))
    boxes = [found["boxes"] for found in heads(features, proposals, batch.image_sizes)[0]]
    if heads.has_mask():
        regions = heads.mask_roi_pool(features, boxes, batch.image_sizes)
        measure_statistics(heads.mask_head, regions)
        masks = heads.mask_predictor
        standardise_outputs({masks.mask_fcn_logits: 2.0}, lambda: masks(heads.mask_head(regions)))
    if heads.has_keypoint():
        regions = heads.keypoint_roi_pool(features, boxes, batch.image_sizes)
        keypoints = heads.keypoint_predictor
        standardise_outputs({keypoints.kps_score_lowres: 2.0}, lambda: keypoints(heads.keypoint_head(regions)))


def measure_statistics(part: nn.Module, x: Tensor) -> None:
    """Draw weights and biases of the batch normalisations in ``part``, and take their statistics from ``x``."""
    norms = [module for module in part.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # average all batches
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.2, 0.2)
    part.train()
    part(x)
    part.eval()
    for norm in norms:
        norm.momentum = 0.1


def standardise_outputs(deviations: dict[Any, float], run: Callable[[], object]) -> None:
    """Scale and shift layers so that, in ``run``, each output has mean 0 and the given standard deviation."""
    for layer, deviation in deviations.items():
        outputs: list[Tensor] = []
        handle = layer.register_forward_hook(lambda _module, _inputs, out, kept=outputs: kept.append(out))
        run()
        handle.remove()
        values = torch.cat([out.movedim(1, -1).flatten(0, -2) for out in outputs])  # [samples, outputs]
        scale = deviation / values.std(dim=0)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0  # of the outputs
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1 - axis)))
        layer.bias.sub_(values.mean(dim=0)).mul_(scale)


def noise_images(*sizes: tuple[int, int]) -> list[Tensor]:
    """Smooth noise, float [3, H, W] in 0..1: with structure at every scale of the pyramid."""
    generator = torch.Generator().manual_seed(1)
    images = []
    for size in sizes:
        layers = [
            nn.functional.interpolate(torch.rand(1, 3, cells, cells, generator=generator), size=size, mode="bilinear")
            for cells in (2, 5, 12, 40)
        ]
        images.append(torch.cat(layers).mean(dim=0))
    return images


def noise_targets(images: list[Tensor], counts: list[int], num_classes: int = 7) -> list[dict[str, Tensor]]:
    """``counts[i]`` elliptic objects in image i, small to large, with COCO's 17 keypoints in and around them."""
    generator, of_keypoints = (torch.Generator().manual_seed(seed) for seed in (2, 3))
    targets = []
    for image, count in zip(images, counts, strict=True):
        height, width = image.shape[-2:]
        span = torch.tensor([width, height], dtype=torch.float32)
        sides = span * (0.1 + 0.6 * torch.rand(count, 2, generator=generator))
        corner = (span - sides) * torch.rand(count, 2, generator=generator)
        rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None, :] + 0.5
        centre, half = corner + sides / 2, sides / 2
        x = (columns - centre[:, 0, None, None]) / half[:, 0, None, None]
        y = (rows - centre[:, 1, None, None]) / half[:, 1, None, None]
        places = corner[:, None] + sides[:, None] * (1.2 * torch.rand(count, 17, 2, generator=of_keypoints) - 0.1)
        visibility = torch.randint(0, 3, (count, 17, 1), generator=of_keypoints)
        targets.append(
            {
                "boxes": torch.cat((corner, corner + sides), dim=1),
                "labels": torch.randint(1, num_classes, (count,), generator=generator),
                "masks": (x**2 + y**2 <= 1).to(torch.uint8),
                "keypoints": torch.cat((places, visibility), dim=2),
            }
        )
    return targets
