"""Builds the native module whose CUDA kernels the interpreter runs: `python -m tests.cuda.build`, or by the tests."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from filelock import FileLock

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / f"interpreted-{sys.implementation.cache_tag}"


def why_not() -> str | None:
    """What is missing to build it; None where nothing is."""
    if os.environ.get("FASTMRCNN_CUDA") == "OFF":
        return "FASTMRCNN_CUDA=OFF"
    if not (ROOT / "CMakeLists.txt").exists():
        return "not in a checkout"
    for program in ("nvcc", "cmake", "ninja"):
        if shutil.which(program) is None:
            return f"{program} is not on the PATH"
    return None if importlib.util.find_spec("pybind11") else "pybind11 is not installed"


@functools.cache
def build() -> Path:
    """The path of the module, compiled anew where a source is newer."""
    import pybind11

    configure = [
        *("cmake", "-S", ROOT, "-B", FOLDER, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DFASTMRCNN_WERROR=ON"),
        *("-DFASTMRCNN_CUDA=ON", "-DFASTMRCNN_INTERPRETED=ON", "-DCMAKE_CUDA_ARCHITECTURES=90-virtual"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"),
    ]
    FOLDER.parent.mkdir(exist_ok=True)
    with FileLock(f"{FOLDER}.lock"):  # tests may run in several processes
        for command in (configure, ["cmake", "--build", FOLDER, "--target", "_C_interpreted"]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                printed = f"{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
                raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{printed}")
    [module] = FOLDER.glob("_C_interpreted*.so")
    return module


def load(path: Path) -> ModuleType:
    """The module beside fastmrcnn's own; both are called `_C`, as their initialising function is."""
    loader = importlib.machinery.ExtensionFileLoader("interpreted._C", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    print(build())
