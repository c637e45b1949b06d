"""The page shows what training sees."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastmrcnn.training import TrainConfig, train
from fastmrcnn.training.preview import write_preview

MakeConfig = Callable[..., TrainConfig]


def test_the_page_shows_the_samples_of_the_first_steps(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastmrcnn.training import loop, preview

    def watch(module: object, name: str, seen: list[list[torch.Tensor]]) -> None:
        make = getattr(module, name)

        def loader(*arguments: object, **options: object) -> object:
            for batch in make(*arguments, **options):
                seen.append(batch[0])
                yield batch

        monkeypatch.setattr(module, name, loader)

    shown: list[list[torch.Tensor]] = []
    trained: list[list[torch.Tensor]] = []
    watch(preview, "training_loader", shown)
    watch(loop, "training_loader", trained)
    config = make_config(steps=2, large_scale_jitter=(0.5, 1.5), jitter_size=96, copy_paste=1.0, color_jitter=0.3)
    path = tmp_path / "page.html"
    assert write_preview(config, path) == 4
    train(config, progress=False)
    assert [len(images) for images in shown] == [2, 2]
    for images, others in zip(shown, trained, strict=True):
        assert all(torch.equal(image, other) for image, other in zip(images, others, strict=True))
    page = path.read_text()
    assert page.count("<img") == 4
    assert re.search(r"<code>.*\.(png|jpg)</code>: 96 x 96, \d+ objects?", page)
    assert "Step 2" in page
    assert "The network resizes" not in page


def test_a_page_of_images_that_the_network_resizes_says_so(make_config: MakeConfig, tmp_path: Path) -> None:
    assert write_preview(make_config(steps=1), tmp_path / "page.html") == 2
    assert "The network resizes these images further" in (tmp_path / "page.html").read_text()
