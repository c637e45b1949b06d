"""``fastmrcnn convert``: one kind of weights file to another."""

from __future__ import annotations

import torch

from fastmrcnn.cli.commands import Convert
from fastmrcnn.weights.convert import convert


def convert_file(options: Convert) -> None:
    """Convert ``options.source`` and say what was written, and where other software will compute differently."""
    done = convert(
        options.source,
        options.target,
        format=options.format,
        class_names=options.class_names or None,
        category_ids=options.category_ids,
        dtype=torch.float16 if options.half else None,
    )
    count = done.config.num_classes
    print(f"written to {done.target}: {done.format}, {count} {'class' if count == 1 else 'classes'}")
    if done.differences:
        print(f"note: {done.format} computes with its own settings, not with those of this model:")
        for line in done.differences:
            print(f"  {line}")
