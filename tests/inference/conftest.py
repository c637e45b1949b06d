"""A model and a picture that several tests look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastmrcnn.data.scenes import render_scene
from fastmrcnn.models import MaskRCNN, tiny
from fastmrcnn.weights import save_model


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random tiny model that finds something at any threshold of 0.05."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_model(MaskRCNN(tiny(("a", "b"), (3, 7))), path)
    return str(path)


@pytest.fixture(scope="session")
def mosaic() -> np.ndarray:
    """Six scenes in one picture of 448 x 672 pixels."""
    scenes = [render_scene(number, seed=77, split="val").image[:224, :224] for number in range(6)]
    return np.concatenate([np.concatenate(scenes[row : row + 3], axis=1) for row in (0, 3)])
