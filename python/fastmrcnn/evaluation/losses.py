"""The losses on data that a model does not learn from, beside its average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastmrcnn import distributed
from fastmrcnn.data import InstanceDataset, Target
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.errors import UserError
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.detect_stream import batches_of
from fastmrcnn.models.evaluation_mode import evaluation_mode
from fastmrcnn.structures import Detections, as_image_tensor


class ValidationLosses:
    """Collects the losses of a data set batch by batch, from the same forward passes as its detections.

    Args:
        model: what is measured, in evaluation mode while it is; its own mode is kept.
        dataset: whose labels the targets have; its classes are found in the model by name.
        seed: what is drawn for the losses of an image, anchors and RoIs, follows from this and the place of the image
            in the data set alone, so that evaluations can be compared.

    Raises:
        UserError: the data set has a class that the model does not know.
    """

    def __init__(self, model: MaskRCNN, dataset: InstanceDataset, seed: int) -> None:
        self._model, self._seed = model, seed
        known = model.config.class_names
        unknown = [name for name in dataset.class_names if name not in known]
        if unknown:
            raise UserError(
                f"{dataset.content.path}: expected classes that the model knows ({', '.join(known)}), "
                f"to measure losses on; got {', '.join(unknown)}"
            )
        # The label 0 is the background.
        self._labels = torch.tensor([0, *(known.index(name) + 1 for name in dataset.class_names)])
        self._batches: list[_BatchLosses] = []

    def detect(self, images: Sequence[Tensor], targets: Sequence[Target], places: Sequence[int]) -> list[Detections]:
        """What :meth:`MaskRCNN.predict` finds in images, whose losses are added. places: of the images."""
        model = self._model
        tensors = [as_image_tensor(image, model.config.input.pixel_format) for image in images]
        own = [target | {"labels": self._labels[target["labels"]]} for target in targets]  # type: ignore[index]
        seeds = [derived_seed(self._seed, place) for place in places]
        found: dict[int, Detections] = {}
        for batch in batches_of(model, tensors, len(tensors)):  # as predict would
            with evaluation_mode(model), torch.inference_mode():
                losses, detected = model.losses_and_detections(
                    [tensors[place] for place in batch],
                    [own[place] for place in batch],
                    [seeds[place] for place in batch],
                )
                values = torch.stack([*losses.values()]).tolist()
            self._batches.append(_BatchLosses(places[batch[0]], len(batch), list(losses), values))
            found |= zip(batch, (detections.to("cpu") for detections in detected), strict=True)
        return [found[place] for place in range(len(images))]

    def means(self) -> dict[str, float]:
        """Each loss, a mean over the images of all processes, and as ``loss`` their sum; the same bits for any number
        of processes. Every one of them has to call this; the result is the first one's, and empty in the others."""
        # Floating-point sums depend on their order: it is that of the data set.
        shares = distributed.gather(self._batches)
        batches = sorted((batch for share in shares for batch in share), key=lambda batch: batch.place)
        if not batches:
            return {}
        images = sum(batch.images for batch in batches)
        columns = zip(*([value * batch.images for value in batch.values] for batch in batches), strict=True)
        means = [sum(column) / images for column in columns]
        return {"loss": sum(means)} | dict(zip(batches[0].names, means, strict=True))


@dataclass(frozen=True)
class _BatchLosses:
    """The losses of one batch."""

    place: int  # of its first image in the data set
    images: int
    names: list[str]
    values: list[float]
