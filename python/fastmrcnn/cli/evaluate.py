"""``fastmrcnn eval``: a model, a data set, the standard table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastmrcnn import distributed
from fastmrcnn.cli.commands import Evaluate
from fastmrcnn.cli.log import log_on_stderr
from fastmrcnn.data import open_dataset
from fastmrcnn.deployment import optimize
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import evaluate
from fastmrcnn.files import check_writable, write_json
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.inference.model_options import choose_detections, seen_in_views
from fastmrcnn.weights import load_model


def evaluate_files(options: Evaluate) -> None:
    """Evaluate ``options.weights`` on ``options.annotations``, print the table and write the numbers if asked to."""
    if options.batch_size < 1:
        raise UserError(f"batch_size must be at least 1; got {options.batch_size}")
    if options.output is not None:
        check_writable(options.output)
    dataset = open_dataset(options.annotations, options.images, format=options.data_format, split=options.split)
    model = load_model(options.weights, device=resolve_device(options.device))
    choose_detections(model, max_detections=options.max_detections, nms=options.nms, nms_iou=options.nms_iou)
    dataset.read_pixels_as(model.config.input.pixel_format)
    _check_classes(dataset.class_names, model.config.class_names, options)
    if options.fast:
        with log_on_stderr():
            model = optimize(model, sample=[dataset[0].image] if len(dataset) > 0 else None)
    detector = seen_in_views(model, options.tta_scales, options.tta_flip)
    result = evaluate(
        detector, dataset, batch_size=options.batch_size, progress=True, keypoint_sigmas=options.keypoint_sigmas
    )
    print(result.table)
    if options.output is not None and distributed.is_first():
        numbers = {"box": result.box, "mask": result.mask, "keypoint": result.keypoint, "per_class": result.per_class}
        write_json(options.output, numbers | {"weights": options.weights, "images": len(dataset)}, indent=2)
        print(f"written to {options.output}")


def _check_classes(asked: Sequence[str], known: Sequence[str], options: Evaluate) -> None:
    """A model that knows none of the classes is refused before it looks at an image; of some, this is said."""
    unknown = [name for name in asked if name not in known]
    if len(unknown) == len(asked):
        raise UserError(
            f"{options.annotations}: expected a category that {options.weights} knows ({', '.join(known)}); "
            f"got {', '.join(unknown)}"
        )
    if unknown and distributed.is_first():
        names = ", ".join(unknown)
        print(f"{options.weights} does not know {names}: objects of such a class count as missed", file=sys.stderr)
