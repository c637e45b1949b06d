"""Pictures of what a model finds in a few evaluation images, always the same ones: a run can be seen learning."""

from __future__ import annotations

from PIL import Image

from fastmrcnn.data import InstanceDataset
from fastmrcnn.data.pictures import draw_sample
from fastmrcnn.models import MaskRCNN
from fastmrcnn.training.watch.sink import Shown

PICTURE_SIDE = 640  # pixels: the longer side of a stored picture at most
SHOWN_SCORE = 0.5  # least confidence of what is drawn
KEYPOINT_SCORE = 0.0  # least logit of a keypoint that is drawn; of probabilities every one is


class Showcase:
    """``count`` images spread over ``data``, of those with objects."""

    def __init__(self, data: InstanceDataset, count: int) -> None:
        self._data = data
        self._positions = shown_positions(data, count)

    def draw(self, model: MaskRCNN) -> list[Shown]:
        """Each image with its annotations and with what ``model`` finds in it."""
        shown = []
        for position in self._positions:
            sample = self._data[position]
            zoom = max(1, PICTURE_SIDE // max(sample.image.shape[1:]))  # thin lines over small images too
            found = model.predict(sample.image).filter(score=SHOWN_SCORE)
            drawn = found.plot(sample.image, zoom=zoom, keypoint_score=KEYPOINT_SCORE)
            truth = draw_sample(sample, self._data.class_names, zoom=zoom)
            shown.append(Shown(sample.path.name, _small(truth), _small(drawn)))
        return shown


def shown_positions(data: InstanceDataset, count: int) -> list[int]:
    """At most ``count`` positions, evenly spread over the data set; each is the next image there that has objects."""
    chosen = []
    starts = [len(data) * number // count for number in range(count)]
    for first, end in zip(starts, [*starts[1:], len(data)], strict=True):
        with_objects = (index for index in range(first, end) if data.content.objects.get(data.image_ids[index]))
        position = next(with_objects, None)
        if position is not None:
            chosen.append(position)
    return chosen


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return picture
