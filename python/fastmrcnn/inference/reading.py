"""Images that are decoded while the network is at others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import torch

from fastmrcnn.errors import UserError
from fastmrcnn.inference.pictures import Picture
from fastmrcnn.structures import RGB, PixelFormat, read_image

READERS = 2  # threads that decode images ahead of the network


def read_ahead(
    pictures: Iterable[Picture], pixel_format: PixelFormat = RGB, *, ahead: int, broken: dict[int, str] | None = None
) -> Iterator[tuple[Picture, torch.Tensor]]:
    """Each picture with its image, [C, H, W]; up to ``ahead`` images are decoded before they are asked for.

    One that does not decode raises ``UserError``, or is left out with its message put in ``broken`` under its place.
    """
    waiting: deque[tuple[Picture, Future[torch.Tensor]]] = deque()
    remaining = iter(pictures)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read_image") as pool:
        try:
            while True:
                for picture in islice(remaining, ahead - len(waiting)):
                    waiting.append((picture, pool.submit(read_image, picture.path, pixel_format)))
                if not waiting:
                    return
                picture, future = waiting.popleft()
                try:
                    image = future.result()
                except UserError as error:
                    if broken is None:
                        raise
                    broken[picture.place] = str(error)
                    continue
                yield picture, image
        finally:
            for _, future in waiting:
                future.cancel()
