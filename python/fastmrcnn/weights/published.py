"""Models that others have published, by name.

The figures are those of their publishers, on COCO val2017 unless said otherwise. MODELS.md shows this table; a test
holds it to this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastmrcnn.weights.download import digest_of, fetch

__all__ = ["PUBLISHED", "PublishedModel", "details_of"]


@dataclass(frozen=True)
class PublishedModel:
    """A weights file on the network, and what its publisher says about it."""

    url: str
    checksum: str  # "sha256:" or "md5:" and the first digits of the digest; empty where none is published
    profile: str  # the preset in fastmrcnn.models with its mathematics
    box_ap: float | None = None  # percent
    mask_ap: float | None = None
    keypoint_ap: float | None = None
    # What the reader must be told because the tensors do not show it: its keyword arguments.
    details: Mapping[str, Any] = field(default_factory=dict)

    def fetch(self) -> Path:
        """The file in the cache; the first call transfers it. UserError where that fails."""
        return fetch(self.url, checksum=self.checksum, name=self.file)

    @property
    def file(self) -> str:
        """The name of the file in the cache: the publisher's, after the model's where that tells them apart."""
        *_, model, _, file = self.url.split("/")
        return f"{model}-{file}" if file.startswith("model_final") else file


def _torchvision(
    file: str,
    profile: str,
    box_ap: float,
    *,
    mask_ap: float | None = None,
    keypoint_ap: float | None = None,
    **details: Any,
) -> PublishedModel:
    """A file of torchvision, whose name ends in the first digits of its SHA-256."""
    digits = file.rpartition("-")[2]
    url = f"https://download.pytorch.org/models/{file}.pth"
    return PublishedModel(url, f"sha256:{digits}", profile, box_ap, mask_ap, keypoint_ap, details)


def _detectron2(
    task: str,
    number: int,
    digits: str,
    box_ap: float | None,
    *,
    mask_ap: float | None = None,
    keypoint_ap: float | None = None,
) -> PublishedModel:
    """A file of detectron2's zoo, whose name ends in the first digits of its MD5."""
    url = f"https://dl.fbaipublicfiles.com/detectron2/{task}/{number}/model_final_{digits}.pkl"
    return PublishedModel(url, f"md5:{digits}", "detectron2_rcnn", box_ap, mask_ap, keypoint_ap)


def _mmdetection(model: str, file: str, box_ap: float, mask_ap: float | None = None, **details: Any) -> PublishedModel:
    """A file of mmdetection's zoo, whose name ends in the first digits of its SHA-256."""
    kind = "mask_rcnn" if mask_ap is not None else "faster_rcnn"
    url = f"https://download.openmmlab.com/mmdetection/v2.0/{kind}/{kind}_{model}_coco/{kind}_{model}_coco_{file}.pth"
    return PublishedModel(
        url, f"sha256:{file.rpartition('-')[2]}", "mmdetection_rcnn", box_ap, mask_ap, details=details
    )


_TORCHVISION = {
    "maskrcnn_resnet50_fpn": _torchvision(
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e", "torchvision_resnet50_fpn", 37.9, mask_ap=34.6, norm_eps=0.0
    ),
    "maskrcnn_resnet50_fpn_v2": _torchvision(
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019", "torchvision_resnet50_fpn_v2", 47.4, mask_ap=41.8
    ),
    "fasterrcnn_resnet50_fpn": _torchvision(
        "fasterrcnn_resnet50_fpn_coco-258fb6c6", "torchvision_fasterrcnn_resnet50_fpn", 37.0, norm_eps=0.0
    ),
    "fasterrcnn_resnet50_fpn_v2": _torchvision(
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a", "torchvision_fasterrcnn_resnet50_fpn_v2", 46.7
    ),
    "keypointrcnn_resnet50_fpn": _torchvision(
        "keypointrcnn_resnet50_fpn_coco-fc266e95",
        "torchvision_keypointrcnn_resnet50_fpn",
        54.6,
        keypoint_ap=65.0,
        norm_eps=0.0,
    ),
    "keypointrcnn_resnet50_fpn_legacy": _torchvision(
        "keypointrcnn_resnet50_fpn_coco-9f466800", "torchvision_keypointrcnn_resnet50_fpn", 50.6, keypoint_ap=61.1
    ),
}

_BOXES, _MASKS, _KEYPOINTS = "COCO-Detection", "COCO-InstanceSegmentation", "COCO-Keypoints"
_DETECTRON2 = [
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_C4_1x", 137257644, "721ade", 35.7),
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_DC5_1x", 137847829, "51d356", 37.3),
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_FPN_1x", 137257794, "b275ba", 37.9),
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_C4_3x", 137849393, "f97cb7", 38.4),
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_DC5_3x", 137849425, "68d202", 39.0),
    _detectron2(f"{_BOXES}/faster_rcnn_R_50_FPN_3x", 137849458, "280758", 40.2),
    _detectron2(f"{_BOXES}/faster_rcnn_R_101_C4_3x", 138204752, "298dad", 41.1),
    _detectron2(f"{_BOXES}/faster_rcnn_R_101_DC5_3x", 138204841, "3e0943", 40.6),
    _detectron2(f"{_BOXES}/faster_rcnn_R_101_FPN_3x", 137851257, "f6e8b1", 42.0),
    _detectron2(f"{_BOXES}/faster_rcnn_X_101_32x8d_FPN_3x", 139173657, "68b088", 43.0),
    _detectron2(f"{_BOXES}/rpn_R_50_C4_1x", 137258005, "450694", None),
    _detectron2(f"{_BOXES}/rpn_R_50_FPN_1x", 137258492, "02ce48", None),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_C4_1x", 137259246, "9243eb", 36.8, mask_ap=32.2),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_DC5_1x", 137260150, "4f86c3", 38.3, mask_ap=34.2),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_FPN_1x", 137260431, "a54504", 38.6, mask_ap=35.2),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_C4_3x", 137849525, "4ce675", 39.8, mask_ap=34.4),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_DC5_3x", 137849551, "84107b", 40.0, mask_ap=35.9),
    _detectron2(f"{_MASKS}/mask_rcnn_R_50_FPN_3x", 137849600, "f10217", 41.0, mask_ap=37.2),
    _detectron2(f"{_MASKS}/mask_rcnn_R_101_C4_3x", 138363239, "a2914c", 42.6, mask_ap=36.7),
    _detectron2(f"{_MASKS}/mask_rcnn_R_101_DC5_3x", 138363294, "0464b7", 41.9, mask_ap=37.3),
    _detectron2(f"{_MASKS}/mask_rcnn_R_101_FPN_3x", 138205316, "a3ec72", 42.9, mask_ap=38.6),
    _detectron2(f"{_MASKS}/mask_rcnn_X_101_32x8d_FPN_3x", 139653917, "2d9806", 44.3, mask_ap=39.5),
    _detectron2("Misc/mask_rcnn_R_50_FPN_3x_syncbn", 169527823, "3b3c51", 41.9, mask_ap=37.8),
    _detectron2("Misc/mask_rcnn_R_50_FPN_3x_gn", 138602888, "dc5d9e", 42.6, mask_ap=38.6),
    _detectron2("Misc/scratch_mask_rcnn_R_50_FPN_3x_gn", 138602908, "01ca85", 39.9, mask_ap=36.6),
    _detectron2(f"{_KEYPOINTS}/keypoint_rcnn_R_50_FPN_1x", 137261548, "04e291", 53.6, keypoint_ap=64.0),
    _detectron2(f"{_KEYPOINTS}/keypoint_rcnn_R_50_FPN_3x", 137849621, "a6e10b", 55.4, keypoint_ap=65.5),
    _detectron2(f"{_KEYPOINTS}/keypoint_rcnn_R_101_FPN_3x", 138363331, "997cc7", 56.4, keypoint_ap=66.1),
    _detectron2(f"{_KEYPOINTS}/keypoint_rcnn_X_101_32x8d_FPN_3x", 139686956, "5ad38f", 57.3, keypoint_ap=66.0),
]

_MMDETECTION = [
    _mmdetection("r50_fpn_1x", "20200130-047c8118", 37.4),
    _mmdetection("r50_fpn_2x", "bbox_mAP-0.384_20200504_210434-a5d8aa15", 38.4),
    _mmdetection("r101_fpn_1x", "20200130-f513f705", 39.4),
    _mmdetection("r101_fpn_2x", "bbox_mAP-0.398_20200504_210455-1d2dac9c", 39.8),
    _mmdetection("x101_32x4d_fpn_1x", "20200203-cff10310", 41.2),
    _mmdetection("x101_64x4d_fpn_1x", "20200204-833ee192", 42.1),
    _mmdetection(
        "r50_caffe_fpn_1x", "bbox_mAP-0.38__segm_mAP-0.344_20200504_231812-0ebd1859", 38.0, 34.4, style="caffe"
    ),
    _mmdetection("r101_caffe_fpn_1x", "20200601_095758-805e06c1", 40.4, 36.4, style="caffe"),
    _mmdetection("r50_fpn_1x", "20200205-d4b0c5d6", 38.2, 34.7),
    _mmdetection("r50_fpn_2x", "bbox_mAP-0.392__segm_mAP-0.354_20200505_003907-3e542a40", 39.2, 35.4),
    _mmdetection("r50_fpn_mstrain-poly_3x", "20210524_201154-21b550bb", 40.9, 37.1),
    _mmdetection("r101_fpn_1x", "20200204-1efe0ed5", 40.0, 36.1),
    _mmdetection("r101_fpn_2x", "bbox_mAP-0.408__segm_mAP-0.366_20200505_071027-14b391c7", 40.8, 36.6),
    _mmdetection("r101_fpn_mstrain-poly_3x", "20210524_200244-5675c317", 42.7, 38.5),
    _mmdetection("x101_32x4d_fpn_1x", "20200205-478d0b67", 41.9, 37.5),
    _mmdetection("x101_32x4d_fpn_mstrain-poly_3x", "20210524_201410-abcd7859", 43.6, 39.0),
    _mmdetection("x101_64x4d_fpn_1x", "20200201-9352eb0d", 42.8, 38.4),
    _mmdetection("x101_64x4d_fpn_mstrain-poly_3x", "20210526_120447-c376f129", 44.5, 39.7),
]

_MATTERPORT = {
    "mask_rcnn_coco": PublishedModel(
        "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
        "",
        "matterport_resnet_fpn",
        box_ap=34.7,  # on the 5000 images that COCO called minival, nearly those of val2017
    ),
}

PUBLISHED = {
    **{f"torchvision/{name}": model for name, model in _TORCHVISION.items()},
    **{f"detectron2/{model.url.split('/')[-3]}": model for model in _DETECTRON2},
    **{f"mmdetection/{model.url.split('/')[-2].removesuffix('_coco')}": model for model in _MMDETECTION},
    **{f"matterport/{name}": model for name, model in _MATTERPORT.items()},
}


def details_of(path: Path, family: str) -> dict[str, Any]:
    """What the reader of a family must be told about a published file, as its tensors do not show it.

    The file is known by its digest, whatever its name.
    """
    known = {
        model.checksum.partition(":")[2]: model.details
        for name, model in PUBLISHED.items()
        if name.startswith(f"{family}/") and model.details
    }
    if not known:
        return {}
    digest = digest_of(path, "sha256")  # the only kind that is published for such files
    return next((dict(details) for digits, details in known.items() if digest.startswith(digits)), {})
