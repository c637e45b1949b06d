"""torchvision's Mask R-CNN with weights that make it detect something, for comparisons."""

from __future__ import annotations

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


def make_peer(*, frozen_norm: bool, num_classes: int = 7, **settings: Any) -> nn.Module:
    """torchvision's ``maskrcnn_resnet50_fpn`` for small images, in evaluation mode.

    A freshly initialised network explodes without batch statistics and scores every class alike. So the running
    statistics are measured on noise, and the output layers standardised so that scores, boxes and masks vary.
    """
    from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    torch.manual_seed(0)
    settings = LIMITS | settings
    plain = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=num_classes, **settings)
    measure_statistics(plain.backbone)
    standardise_predictors(plain)
    if not frozen_norm:
        return plain.eval()
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    frozen = MaskRCNN(backbone, num_classes=num_classes, **settings)
    frozen.load_state_dict({k: v for k, v in plain.state_dict().items() if "num_batches" not in k})
    return frozen.eval()


@torch.no_grad()
def measure_statistics(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # average all batches
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.2, 0.2)
    backbone.train()
    backbone(torch.randn(2, 3, MIN_SIZE, MAX_SIZE))
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1


@torch.no_grad()
def standardise_predictors(model: Any) -> None:
    """Scale and shift each output layer so that its outputs on noise have mean 0 and the given standard deviation."""
    images = noise_images((120, 160), (200, 140))
    box, mask = model.roi_heads.box_predictor, model.roi_heads.mask_predictor
    model.eval()
    # In the order of the network: each layer's inputs depend on the layers before.
    for layer, deviation in (
        (model.rpn.head.cls_logits, 2.0),
        (model.rpn.head.bbox_pred, 0.3),
        (box.cls_score, 2.0),
        (box.bbox_pred, 1.0),
        (mask.mask_fcn_logits, 2.0),
    ):
        outputs: list[Tensor] = []
        handle = layer.register_forward_hook(lambda _module, _inputs, out, kept=outputs: kept.append(out))
        model(images)
        handle.remove()
        values = torch.cat([out.movedim(1, -1).flatten(0, -2) for out in outputs])  # [samples, outputs]
        scale = deviation / values.std(dim=0)
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
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
    """``counts[i]`` elliptic objects in image i, small to large."""
    generator = torch.Generator().manual_seed(2)
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
        targets.append(
            {
                "boxes": torch.cat((corner, corner + sides), dim=1),
                "labels": torch.randint(1, num_classes, (count,), generator=generator),
                "masks": (x**2 + y**2 <= 1).to(torch.uint8),
            }
        )
    return targets
