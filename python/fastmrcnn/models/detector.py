"""What all that finds objects in images has in common: prediction for whatever the user calls an image, or many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Sized
from typing import cast, overload

from torch import Tensor, nn

from fastmrcnn.models.ahead import number_of_readers
from fastmrcnn.models.config import MaskRCNNConfig
from fastmrcnn.models.detect_stream import detect_stream
from fastmrcnn.models.instances import ImageBatch
from fastmrcnn.models.predict import held, is_single_image
from fastmrcnn.models.transform import InputTransform
from fastmrcnn.structures import Detections, ImageSource


class Detector(nn.Module, ABC):
    """A network, or what looks at images through one."""

    config: MaskRCNNConfig
    transform: InputTransform

    @abstractmethod
    def detect_prepared(self, batch: ImageBatch, images: Sequence[Tensor]) -> list[Detections]:
        """The detections in what ``self.transform`` has made of ``images``, in pixels of these."""

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is also an iterable of strings
        self,
        images: ImageSource,
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        readers: int | None = None,
    ) -> Detections: ...

    @overload
    def predict(
        self,
        images: Iterable[ImageSource],
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        readers: int | None = None,
    ) -> list[Detections]: ...

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        score_threshold: float | None = None,
        batch_size: int = 1,
        readers: int | None = None,
    ) -> Detections | list[Detections]:
        """Detect in one image or in many, whatever form they have and whatever mode the model is in.

        Args:
            images: a path, a page of a TIFF, a Pillow image, a numpy array [H, W, C] uint8 or a tensor [C, H, W]
                (uint8, or float in 0..1), see :func:`~fastmrcnn.structures.as_image_tensor`; or an iterable of such,
                read as they are needed. Models of three channels take grey images too, models of one channel grey
                images alone.
            score_threshold: drop detections below it; None keeps those above the configuration's threshold.
            batch_size: images that go through the network together, at most. With 1, an image gives the same detections
                in any company; more is faster on a GPU, but the padding to a common size then shifts scores a little.
                Among 8 batches of consecutive images those of like shape come together, so that padding to a common
                size is at most a fifth of the pixels of a batch (:mod:`fastmrcnn.models.batching`).
            readers: threads that decode and resize ahead of the network; None: 2 for a network on the CPU, up to 8
                for one on a GPU, which resizes itself. 0 leaves it to the caller's thread.

        Returns:
            ``Detections`` on the CPU for one image, a list of them in the order of an iterable.

        Raises:
            UserError: an image that is missing, does not decode, is no image or has other channels than the network.

        >>> from fastmrcnn.models import MaskRCNN, tiny
        >>> model = MaskRCNN(tiny(["coin"]))
        >>> model.predict([torch.zeros(3, 48, 64), torch.zeros(3, 64, 48)], score_threshold=0.99)
        [<Detections: 0 in 64 x 48 pixels>, <Detections: 0 in 48 x 64 pixels>]
        """
        for name, value, least in (("batch_size", batch_size, 1), ("readers", readers, 0)):
            if value is not None and value < least:
                raise ValueError(f"predict: {name} must be at least {least}; got {value}")
        if is_single_image(images):
            sources: Iterable[ImageSource] = [cast(ImageSource, images)]
        else:
            sources = held(cast(Iterable[ImageSource], images), self.config.input.pixel_format)
        if isinstance(sources, Sized) and len(sources) < 2:
            readers = 0  # there is nothing to be ahead of
        stream = detect_stream(
            self,
            enumerate(sources),
            score_threshold=score_threshold,
            batch_size=batch_size,
            readers=number_of_readers(readers, self.transform.mean.device),
        )
        found = {place: detections for place, _, detections in stream}
        return found[0] if is_single_image(images) else [found[place] for place in range(len(found))]
