"""What a prediction run is."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal, get_args

from fastmrcnn.errors import UserError
from fastmrcnn.inference.video.choice import FrameChoice

OutputKind = Literal["coco", "overlays", "csv", "crops", "geojson", "labelme", "yolo", "labels", "jsonl", "video"]

NMSMethod = Literal["box", "linear", "gaussian", "mask"]  # as in models.config, which loads torch


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Segment images and write what was found in any of several forms.

    >>> PredictConfig(images=("photos",), score_threshold=1.5)
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: score_threshold must be in 0..1; got 1.5
    """

    # Image files, folders of images, globs such as "photos/**/*.jpg", and lists (.txt) with a path on each line. Of a
    # TIFF every page is an image. Or video files; or a camera such as /dev/video0, or its number; or the address of a
    # stream, such as rtsp://...
    images: tuple[str, ...]
    # The shipped weights "tiny", a weights file, or the name of a published model.
    weights: str = "tiny"
    # Folder for the results.
    output: Path = Path("predictions")
    # What to write: COCO results (predictions.json, images.json), overlays to look at, a table of all instances
    # (instances.csv), each instance cut out (crops), polygons (geojson, labelme, yolo), images whose pixels number
    # instances and classes (labels), a line of JSON for each image (jsonl), a video with overlays (video). The default
    # is coco and overlays, of videos coco and video, of a camera coco and jsonl, which can be read while it grows.
    save: tuple[OutputKind, ...] = ()
    # Overlays are "jpg", or "png", which are larger and lose nothing.
    overlay_format: Literal["jpg", "png"] = "jpg"
    # Pixels that polygons may lie beside the edge of their mask to have fewer points; 0 keeps every pixel.
    tolerance: float = 0.0
    # Least confidence of a detection, 0..1.
    score_threshold: float = 0.5
    # COCO JSON whose image ids (by file name) and category ids (by name) the results take; without it images are
    # numbered from 1.
    annotations: Path | None = None
    # Go on after an image that does not decode, instead of stopping; such images are listed at the end.
    skip_broken: bool = False
    # Images that go through the network together, at most: those of like shape among 8 batches of consecutive images.
    batch_size: int = 1
    # Threads that decode and resize images ahead of the network, and as many that write pictures behind it. The default
    # is 2 for one on the CPU and up to 8, one a core, for one on a GPU, which resizes itself. 0 takes turns with the
    # network.
    readers: int | None = None
    # Side of tiles, px, in which images larger than it are segmented; their memory then follows the tile. What their
    # seams cut comes out whole. The default looks at each image at once.
    tile: int | None = None
    # Pixels that neighbouring tiles share; the default is an eighth of the tile. Larger objects are put together from
    # their pieces.
    overlap: int | None = None
    # Look at all of an image in tiles too, reduced to the size of one, for objects that are longer than a tile.
    overview: bool = False
    # Objects kept an image; the default is the model's own number, mostly 100.
    max_detections: int | None = None
    # What is done about several boxes on one object: "box" drops the worse ones (NMS), "linear" and "gaussian" lower
    # their scores (soft-NMS), "mask" compares the masks in place of the boxes. The default is the model's own.
    nms: NMSMethod | None = None
    # The overlap (IoU) above which it is done.
    nms_iou: float | None = None
    # Test-time augmentation: look at each image in several sizes, factors of the model's own such as 0.8 1 1.25, and
    # average what is seen.
    tta_scales: tuple[float, ...] = ()
    # Test-time augmentation: look at each image mirrored as well.
    tta_flip: bool = False
    # Make the model as fast as this machine allows first (fastmrcnn.optimize), and say what that changes: some seconds
    # at the start.
    fast: bool = False
    # Of videos: look at every so many frames.
    every: int = 1
    # Of videos: look at so many frames a second at most.
    fps: float | None = None
    # Of videos: look at the part from this second on.
    start: float = 0.0
    # Of videos: look at the part up to this second.
    end: float | None = None
    # Look at so many frames of each video, then end.
    max_frames: int | None = None
    # Whether frames come when they do, so that old ones are dropped to keep up. The default is so for cameras, and for
    # streams without an end.
    live: bool | None = None
    # Of videos: options of FFmpeg, such as video_size=1280x720 for a camera or rtsp_transport=tcp.
    video_options: tuple[str, ...] = ()
    # "auto" is CUDA when available; or "cpu", "cuda", "cuda:1", ...
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(str(source) for source in self.images))
        object.__setattr__(self, "output", Path(self.output))
        if not 0 <= self.score_threshold <= 1:
            raise UserError(f"score_threshold must be in 0..1; got {self.score_threshold}")
        self._check_outputs()
        if self.batch_size < 1:
            raise UserError(f"batch_size must be at least 1; got {self.batch_size}")
        if self.tile is not None and self.tile < 1:
            raise UserError(f"tile must be at least 1; got {self.tile}")
        if self.overlap is not None and self.tile is None:
            raise UserError(f"overlap is that of tiles: expected tile too; got overlap {self.overlap} alone")
        if self.overview and self.tile is None:
            raise UserError("overview is taken beside tiles: expected tile too; got overview alone")
        if self.overlap is not None and self.tile is not None and not 0 <= self.overlap < self.tile:
            raise UserError(f"overlap must be in 0..{self.tile - 1}, below the tile; got {self.overlap}")
        object.__setattr__(self, "tta_scales", tuple(self.tta_scales))
        if self.readers is not None and self.readers < 0:
            raise UserError(f"readers must be at least 0; got {self.readers}")
        object.__setattr__(self, "video_options", tuple(self.video_options))
        _ = self.choice  # which checks its part

    @property
    def choice(self) -> FrameChoice:
        """Which frames of videos are looked at."""
        return FrameChoice(self.every, self.fps, self.start, self.end, self.max_frames)

    def _check_outputs(self) -> None:
        kinds = ", ".join(get_args(OutputKind))
        object.__setattr__(self, "save", tuple(self.save))
        if unknown := [kind for kind in self.save if kind not in get_args(OutputKind)]:
            raise UserError(f"save must name kinds of output ({kinds}); got {unknown[0]}")
        if self.overlay_format not in ("jpg", "png"):
            raise UserError(f"overlay_format must be jpg or png; got {self.overlay_format}")
        if not 0 <= self.tolerance < math.inf:
            raise UserError(f"tolerance must be at least 0 pixels; got {self.tolerance}")
