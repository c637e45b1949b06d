"""Segment files, folders, globs and videos: all results appear together when the last image is done."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack

from torch import Tensor

from fastmrcnn import distributed
from fastmrcnn.deployment import optimize
from fastmrcnn.errors import UserError
from fastmrcnn.files import errors_name
from fastmrcnn.inference.coco_ids import ids_of_file, numbered
from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.journal import Share
from fastmrcnn.inference.model_options import choose_detections, seen_in_views
from fastmrcnn.inference.outputs import Run, chosen
from fastmrcnn.inference.outputs.parts import Parts
from fastmrcnn.inference.pictures import Picture, Pictures
from fastmrcnn.inference.share import predict_share
from fastmrcnn.inference.sources import image_files
from fastmrcnn.inference.staging import check_apart, earlier_results, results_in, write_about
from fastmrcnn.inference.summary import PredictSummary
from fastmrcnn.inference.tiles import tiles_of
from fastmrcnn.inference.unfinished import unfinished_run
from fastmrcnn.inference.video.choice import FrameChoice
from fastmrcnn.inference.video.run import predict_videos
from fastmrcnn.inference.video.sources import video_files
from fastmrcnn.models import MaskRCNN
from fastmrcnn.models.batching import window_of
from fastmrcnn.models.detector import Detector
from fastmrcnn.structures import PixelFormat, as_image_tensor
from fastmrcnn.structures.windows import open_windows
from fastmrcnn.weights import load_model


def predict_files(config: PredictConfig, *, progress: bool = True) -> PredictSummary:
    """Segment ``config.images`` and write the results under ``config.output``.

    ``config.save`` says in which forms; each is described in its module of :mod:`fastmrcnn.inference.outputs`.
    Image and category ids of COCO results come from ``config.annotations``, by file name and class name; without it,
    images are numbered from 1, classes have the model's ids, and ``images.json`` is the COCO document that both belong
    to. Everything appears when the last image is done, in place of an earlier run's results. ``predict.json`` says what
    the run was. A run that ends before leaves what it has done in a hidden folder beside ``config.output``, and the
    same call goes on from there (:mod:`fastmrcnn.inference.unfinished`). Where ``config.images`` are videos, see
    :func:`~fastmrcnn.inference.video.run.predict_videos`.

    Of several processes, which torchrun starts, every one calls this and segments its share; the files and what is
    returned are those of one process.

    Raises:
        UserError: a source without images, an image that does not decode or has no id, weights that do not load.

    >>> from fastmrcnn.inference import PredictConfig, predict_files
    >>> predict_files(PredictConfig(images=("photos", "more/*.png")))  # doctest: +SKIP
    """
    start = time.monotonic()
    distributed.join()
    videos = video_files(config.images)
    if not videos:
        config = dataclasses.replace(config, save=config.save or ("coco", "overlays"))
    paths = [] if videos else _image_files(config)
    model = load_model(config.weights, device=resolve_device(config.device))
    choose_detections(model, max_detections=config.max_detections, nms=config.nms, nms_iou=config.nms_iou)
    if videos:
        if config.tile is not None:
            raise UserError("tile: expected images; the frames of a video are looked at whole")
        detector = seen_in_views(optimize(model) if config.fast else model, config.tta_scales, config.tta_flip)
        return predict_videos(config, detector, videos, progress=progress)
    if config.choice != FrameChoice():
        raise UserError("every, fps, start, end and max_frames choose frames of videos; images has none")
    pictures = distributed.from_first(lambda: Pictures(paths, model.config.input.pixel_format))
    if config.fast:
        model = _made_fast(model, pictures, config)
    detector = seen_in_views(model, config.tta_scales, config.tta_flip)
    total, earlier = _predict_pictures(config, detector, pictures, progress)
    return PredictSummary(
        output=config.output,
        images=total.images,
        detections=total.detections,
        broken=[total.broken[place] for place in sorted(total.broken)],
        seconds=time.monotonic() - start,
        device=str(detector.transform.mean.device),
        earlier=earlier,
    )


def _image_files(config: PredictConfig) -> list[str]:
    """The images of a run, in the first process, which tells the others later: folders change, and not all machines
    list them alike."""
    with distributed.failing_together():
        if distributed.is_first():
            paths = image_files(config.images, without=earlier_results(config.output))
            check_apart(paths, config.output, config.save)
            return paths
    return []


def _predict_pictures(
    config: PredictConfig, detector: Detector, pictures: Pictures, progress: bool
) -> tuple[Share, int]:
    """Segment the pictures that are not finished yet, and put the results in place.

    Returns:
        What was done in all, and how many images of it by an interrupted run.
    """
    model, window = detector.config, window_of(config.batch_size)
    ids = numbered(model) if config.annotations is None else ids_of_file(config.annotations, pictures, model)
    with ExitStack() as stack:
        stack.enter_context(errors_name(config.output))
        work, finished = distributed.from_first(lambda: stack.enter_context(unfinished_run(config, pictures, window)))
        parts = Parts(work, attempt=finished.attempt, rank=distributed.rank(), window=window)
        run = Run(config, results_in(work), ids, model.class_names, parts, model.mask_head is not None)
        outputs = [kind(run) for kind in chosen(config)]
        shares = distributed.gather(predict_share(run, detector, pictures, outputs, finished, progress))
        total, earlier = finished.share, finished.share.images
        for share in shares:
            total.add(share)
        if distributed.is_first():
            for output in outputs:
                output.finish()
            write_about(run.folder, config, model, total.images, total.detections)
    return distributed.from_first(lambda: (total, earlier))  # when all is in its place


def _made_fast(model: MaskRCNN, pictures: Pictures, config: PredictConfig) -> MaskRCNN:
    """The model optimised, which logs what was done and the deviation that the first picture shows, or a tile of it."""
    pixel_format = model.config.input.pixel_format
    try:
        sample = [_sample_of(picture, pixel_format, config) for picture in pictures[:1]]
    except UserError:  # which is said when it is its turn
        sample = []
    return optimize(model, sample=sample or None)


def _sample_of(picture: Picture, pixel_format: PixelFormat, config: PredictConfig) -> Tensor:
    """The picture [C, H, W] or, of one in tiles, that in its middle: it need not fit into memory."""
    if config.tile is None:
        return as_image_tensor(picture.source, pixel_format)
    with open_windows(picture.source, pixel_format) as windows:
        tiles = tiles_of(windows.size, config.tile, overlap=0)
        return windows.read(*tiles[len(tiles) // 2])
