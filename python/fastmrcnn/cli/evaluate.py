"""``fastmrcnn eval``: a model, a data set, the standard table."""

from __future__ import annotations

from fastmrcnn import distributed
from fastmrcnn.cli.commands import Evaluate
from fastmrcnn.data import open_dataset
from fastmrcnn.errors import UserError
from fastmrcnn.evaluation import evaluate
from fastmrcnn.files import write_json
from fastmrcnn.inference.device import resolve_device
from fastmrcnn.weights import load_model


def evaluate_files(options: Evaluate) -> None:
    """Evaluate ``options.weights`` on ``options.annotations``, print the table and write the numbers if asked to."""
    if options.batch_size < 1:
        raise UserError(f"batch_size must be at least 1; got {options.batch_size}")
    dataset = open_dataset(options.annotations, options.images, format=options.data_format, split=options.split)
    model = load_model(options.weights, device=resolve_device(options.device))
    dataset.read_pixels_as(model.config.input.pixel_format)
    result = evaluate(
        model, dataset, batch_size=options.batch_size, progress=True, keypoint_sigmas=options.keypoint_sigmas
    )
    print(result.table)
    if options.output is not None and distributed.is_first():
        numbers = {"box": result.box, "mask": result.mask, "keypoint": result.keypoint, "per_class": result.per_class}
        write_json(options.output, numbers | {"weights": options.weights, "images": len(dataset)}, indent=2)
        print(f"written to {options.output}")
