"""Images that are decoded while the network is at others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch

from fastmrcnn.errors import UserError
from fastmrcnn.structures import RGB, PixelFormat, read_image

READERS = 2  # threads that decode images ahead of the network


def read_ahead(
    paths: Iterable[Path], pixel_format: PixelFormat = RGB, *, ahead: int, broken: list[str] | None = None
) -> Iterator[tuple[Path, torch.Tensor]]:
    """Each path with its image, [C, H, W]; up to ``ahead`` images are decoded before they are asked for.

    An image that does not decode raises ``UserError``, or is left out with its message appended to ``broken``.
    """
    waiting: deque[tuple[Path, Future[torch.Tensor]]] = deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read_image") as pool:
        try:
            while True:
                for path in islice(remaining, ahead - len(waiting)):
                    waiting.append((path, pool.submit(read_image, path, pixel_format)))
                if not waiting:
                    return
                path, future = waiting.popleft()
                try:
                    image = future.result()
                except UserError as error:
                    if broken is None:
                        raise
                    broken.append(str(error))
                    continue
                yield path, image
        finally:
            for _, future in waiting:
                future.cancel()
