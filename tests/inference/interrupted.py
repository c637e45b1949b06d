"""A prediction that kills its process at a picture, half-way through writing what was found in it.

Run by the tests as ``interrupted.py CONFIG.json NAME``, alone or by torchrun.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from torch import Tensor

from fastmrcnn import distributed
from fastmrcnn.inference import PredictConfig, predict_files
from fastmrcnn.inference.outputs.overlays import Overlays
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import Detections


def main(config: Path, last: str) -> None:
    draw = Overlays.add

    def draw_or_die(output: Overlays, picture: Picture, image: Tensor, found: Detections) -> None:
        draw(output, picture, image, found)
        if picture.name == last:
            os.kill(os.getpid(), signal.SIGKILL)

    Overlays.add = draw_or_die  # type: ignore[method-assign]
    distributed.join()
    predict_files(PredictConfig(**json.loads(config.read_text())), progress=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
