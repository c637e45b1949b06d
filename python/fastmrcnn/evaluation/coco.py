"""COCO metrics through faster-coco-eval, which gives pycocotools' numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset, batches_ahead
from fastmrcnn.data.annotations import Annotations, ImageRecord, ObjectRecord
from fastmrcnn.data.keypoints import keypoint_columns
from fastmrcnn.data.masks import measure_rle, segmentation_to_rle
from fastmrcnn.data.readers import Source, read_coco
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation.keypoints import labelled_keypoints, sigmas_of
from fastmrcnn.evaluation.losses import ValidationLosses
from fastmrcnn.evaluation.measurement import Measurement, measure, nothing_measured
from fastmrcnn.evaluation.result import EvaluationResult
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.ahead import Readers, number_of_readers
from fastmrcnn.models.detector import Detector
from fastmrcnn.structures import Detections

_TITLES = {"box": "Boxes", "mask": "Masks", "keypoint": "Keypoints"}


class Predictor(Protocol):
    """What :func:`evaluate` needs of a model."""

    def predict(self, images: list[Tensor], *, batch_size: int) -> list[Detections]:
        """Detections of each image, [C, H, W] uint8, or float in 0..1."""
        ...


class CocoEvaluator:
    """Collects detections image by image and measures them against an annotation file.

    Classes are matched by name: a category that the model does not know counts with an AP of 0, a class that the file
    does not know is left out. Images that never get an :meth:`update` count as images without detections.

    Args:
        annotations: path of a COCO JSON file, or the checked annotations of any format.
        class_names: the categories to measure; default: all.
        keypoint_sigmas: for the keypoints of a model that finds them, in its order: see
            :func:`~fastmrcnn.evaluation.keypoints.sigmas_of`.

    Raises:
        UserError: the annotation file is missing or malformed, or has no category of a given name; a name is given
            twice.

    Example:
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> evaluator = CocoEvaluator(write_dataset("scenes", images=1, seed=0))
        >>> evaluator.update(1, model.predict("scenes/images/train_000000.jpg"))  # doctest: +SKIP
        >>> result = evaluator.summarize()
        >>> result.mask_ap, len(result.table.splitlines())
        (0.0, 26)
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str] | Annotations,
        *,
        class_names: Sequence[str] | None = None,
        keypoint_sigmas: Sequence[float] = (),
    ) -> None:
        self._content = annotations if isinstance(annotations, Annotations) else read_coco(Source(Path(annotations)))
        self._category_ids = self._content.choose(class_names)
        self._seen: set[int] = set()
        self._masks_given = True  # by the model, whether it found anything or not
        self._keypoint_names: tuple[str, ...] = ()  # those that the model finds
        self._keypoint_sigmas = keypoint_sigmas
        self.results: list[dict[str, Any]] = []
        """COCO results: image_id, category_id (the file's), bbox, score and, where the model gives them, segmentation
        (RLE) and keypoints."""

    def update(self, image_id: int, detections: Detections) -> None:
        """Add the detections of one image.

        Raises:
            UserError: none of the model's classes is a category of the file.
            ValueError: an image that the file does not have, has in another size, or that was given before.
        """
        record = self._content.images.get(image_id)
        if record is None or image_id in self._seen:
            problem = "is not in the annotation file" if record is None else "was given before"
            raise ValueError(f"CocoEvaluator.update: image {image_id} {problem}")
        if tuple(detections.image_size) != (record.height, record.width):
            expected = (record.height, record.width)
            raise ValueError(f"CocoEvaluator.update: image {image_id} must be {expected}; got {detections.image_size}")
        self._seen.add(image_id)
        self._masks_given &= detections.has_masks
        self._keypoint_names = detections.keypoint_names
        if not self._category_ids.keys() & set(detections.class_names):
            known, found = ", ".join(detections.class_names), ", ".join(self._category_ids)
            raise UserError(f"{self._content.path}: expected a category that the model knows ({known}); got {found}")
        for name, result in zip(detections.names, detections.to_coco(image_id), strict=True):
            if name in self._category_ids:
                self.results.append(result | {"category_id": self._category_ids[name]})

    def gather(self) -> None:
        """Give the first process what the others have added, in the order of the annotation file."""
        parts = distributed.gather((self._seen, self._masks_given, self._keypoint_names, self.results))
        if not parts:
            return
        self._seen = set().union(*(seen for seen, _, _, _ in parts))
        self._masks_given = all(given for _, given, _, _ in parts)
        self._keypoint_names = max((names for _, _, names, _ in parts), key=len)  # none of processes without images
        place = {image_id: number for number, image_id in enumerate(self._content.images)}
        self.results = [result for _, _, _, results in parts for result in results]
        self.results.sort(key=lambda result: place[result["image_id"]])  # stable: an image is in one part alone

    def summarize(self) -> EvaluationResult:
        """Measure everything that was added so far; may be called again after more updates."""
        truth = self._ground_truth()
        names = [category["name"] for category in truth["categories"]]
        measured = {
            "box": measure(truth, self.results, "bbox"),
            "mask": measure(truth, self.results, "segm")
            if self._masks_given
            else nothing_measured("segm", names, "the model gives no masks"),
        }
        if self._keypoint_names:
            measured["keypoint"] = self._measure_keypoints(truth, names)
        return EvaluationResult(
            box=measured["box"].metrics,
            mask=measured["mask"].metrics,
            keypoint=measured["keypoint"].metrics if "keypoint" in measured else {},
            per_class={name: _of_class(name, measured) for name in self._category_ids},
            table="".join(f"{_TITLES[kind]}\n{one.table}" for kind, one in measured.items()),
        )

    def _measure_keypoints(self, truth: dict[str, Any], names: Sequence[str]) -> Measurement:
        """Object keypoint similarity, over the classes whose annotations list keypoints."""
        identifiers = [number for number in self._category_ids.values() if number in self._content.keypoint_names]
        if not identifiers:
            return nothing_measured("keypoints", names, "the annotations list no keypoints")
        columns = keypoint_columns(self._content, identifiers, self._keypoint_names)
        # In the order of the truth's own annotations.
        objects = (item for items in self._content.objects.values() for item in items)
        chosen = (item for item in objects if item.category_id in self._category_ids.values())
        annotations = [
            annotation | labelled_keypoints(item, columns.get(item.category_id), len(self._keypoint_names))
            for annotation, item in zip(truth["annotations"], chosen, strict=True)
        ]
        sigmas = sigmas_of(self._keypoint_names, self._keypoint_sigmas)
        return measure(truth | {"annotations": annotations}, self.results, "keypoints", sigmas)

    def _ground_truth(self) -> dict[str, Any]:
        """The COCO document to measure against, with what a file may leave out filled in."""
        categories = {identifier: name for name, identifier in self._category_ids.items()}
        annotations: list[dict[str, Any]] = []
        for image_id, items in self._content.objects.items():
            record = self._content.images[image_id]
            for item in items:
                if item.category_id in categories:
                    # Numbered anew: the matching takes an id of 0 for "no match".
                    annotations.append({"id": len(annotations) + 1} | _complete(item, record))
        return {
            "images": [{"id": r.id, "height": r.height, "width": r.width} for r in self._content.images.values()],
            "categories": [{"id": identifier, "name": name} for identifier, name in categories.items()],
            "annotations": annotations,
        }


def evaluate(
    model: Predictor,
    dataset: InstanceDataset,
    *,
    batch_size: int = 4,
    readers: int | None = None,
    progress: bool = False,
    before_batch: Callable[[], None] | None = None,
    loss_seed: int | None = None,
    keypoint_sigmas: Sequence[float] = (),
) -> EvaluationResult:
    """Measure a model on a data set.

    Of several processes each takes its share of the batches, and all get the same result, that of one process; every
    one of them has to call this.

    Args:
        model: a :class:`~fastmrcnn.models.MaskRCNN`; its training flag is kept.
        dataset: images and annotations; its transforms must leave the size of the images. Where the model does not take
            RGB, :meth:`~fastmrcnn.data.InstanceDataset.read_pixels_as` says what to read.
        batch_size: images at a time.
        readers: threads that read and decode ahead of the network; None: as many as :meth:`~Detector.predict` has. 0
            leaves it to the caller's thread.
        progress: show a progress bar on standard error.
        before_batch: is called before each batch, in every process equally often; what it raises ends the evaluation.
        loss_seed: with one, the losses are measured too (:class:`~fastmrcnn.evaluation.ValidationLosses`) in the same
            forward passes; the average precision stays the same to the bit.
        keypoint_sigmas: see :class:`CocoEvaluator`.

    Raises:
        UserError: an image does not decode; the model and the data set have no class in common; losses are asked for
            and the model does not know all classes; ``keypoint_sigmas`` are not those of the model.

    Example:
        >>> result = evaluate(model, open_dataset("annotations.json", "images"))  # doctest: +SKIP
        >>> result.mask_ap, result.per_class["coin"]["mask_ap"]  # doctest: +SKIP
        (0.64, 0.81)
    """
    if isinstance(model, MaskRCNN):  # told now, not after all images
        head = model.config.keypoint_head
        sigmas_of(() if head is None else head.keypoint_names, keypoint_sigmas)
    evaluator = CocoEvaluator(dataset.content, class_names=dataset.class_names, keypoint_sigmas=keypoint_sigmas)
    losses = None if loss_seed is None else ValidationLosses(_with_losses(model), dataset, loss_seed)
    places = [list(range(first, min(first + batch_size, len(dataset)))) for first in range(0, len(dataset), batch_size)]
    rank, count = distributed.rank(), distributed.processes()
    # Whole batches, as an image is padded to the size of its company, and so sees it.
    share = places[rank::count]
    rounds = range(0, len(places), count)  # in the last one some processes may have nothing to do
    device = model.transform.mean.device if isinstance(model, Detector) else torch.device("cpu")
    with Readers(number_of_readers(readers, device)) as reading:
        batches = batches_ahead(dataset, share, reading)
        for first in tqdm(rounds, desc="evaluate", unit="batch", disable=not (progress and distributed.is_first())):
            if before_batch is not None:
                before_batch()
            with distributed.failing_together():  # or else the others would wait for one that cannot read an image
                images, targets, samples = next(batches, ([], [], []))
                if losses is None or not images:
                    found = model.predict(images, batch_size=batch_size)
                else:
                    found = losses.detect(images, targets, places[first + rank])
                for sample, detections in zip(samples, found, strict=True):
                    evaluator.update(sample.image_id, detections)
    evaluator.gather()
    means = {} if losses is None else losses.means()
    return distributed.from_first(lambda: replace(evaluator.summarize(), losses=means))


def _with_losses(model: Predictor) -> MaskRCNN:
    if not isinstance(model, MaskRCNN):
        raise TypeError(f"evaluate: losses are those of a MaskRCNN; got {type(model).__name__}")
    return model


def _complete(item: ObjectRecord, record: ImageRecord) -> dict[str, Any]:
    """One annotation with its mask as RLE, and with box and area measured on it where the file has none."""
    rle = segmentation_to_rle(item.segmentation, record.height, record.width)
    bbox, area = measure_rle(rle)
    return {
        "image_id": record.id,
        "category_id": item.category_id,
        "segmentation": rle,
        "bbox": bbox if item.bbox is None else list(item.bbox),
        "area": area if item.area is None else item.area,
        "iscrowd": int(item.iscrowd),
    }


def _of_class(name: str, measured: Mapping[str, Measurement]) -> dict[str, float]:
    """``box_ap``, ``box_ap50``, ``mask_ap``, ... of one class."""
    values = {}
    for kind, one in measured.items():
        values[f"{kind}_ap"], values[f"{kind}_ap50"] = one.class_ap[name], one.class_ap50[name]
    return values
