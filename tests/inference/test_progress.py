"""The progress bar."""

from __future__ import annotations

from fastmrcnn.inference.progress import progress_bar


def test_slow_runs_are_told_in_images_a_second_too() -> None:
    with progress_bar(10, "predict", " images") as bar:  # it is printed after a second
        shown = bar.format_meter(**bar.format_dict | {"n": 1, "elapsed": 20.0})
    assert "1/10 [00:20<03:00,  0.05 images/s]" in shown
