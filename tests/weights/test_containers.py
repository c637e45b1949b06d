"""What holds the tensors of a file: told by its bytes, read without running anything, refused in one line."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fastmrcnn.errors import UserError
from fastmrcnn.weights import limits
from fastmrcnn.weights.containers import read_content, write_content

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "steps": torch.tensor(7)}
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}


def pickled(content: Any, path: Path, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def assert_is_state(tensors: Mapping[str, Tensor]) -> None:
    assert set(tensors) == set(STATE)
    for name, tensor in tensors.items():
        assert tensor.dtype == STATE[name].dtype
        assert torch.equal(tensor, STATE[name])


WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: torch.save(STATE, path),
    "torch before 1.6": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: save_file(STATE, path),
    "pickle": lambda path: pickled(ARRAYS, path),
    "pickle, protocol 5": lambda path: pickled(ARRAYS, path, 5),
}
SUFFIXES = [".pth", ".pkl", ".safetensors", ".h5", ""]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", WRITERS)
def test_the_bytes_tell_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    WRITERS[kind](path)
    assert_is_state(read_content(path).tensors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_keras_too(suffix: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="an extra: fastmrcnn[matterport]")
    path = tmp_path / f"weights{suffix}"
    with h5py.File(path, "w") as file:
        file["conv1/conv1/kernel:0"] = ARRAYS["conv.weight"]
    assert torch.equal(read_content(path).tensors["conv1/kernel"], STATE["conv.weight"])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="expected a complete HDF5 file; it is damaged or cut short: "):
        read_content(path)


def test_pickles_of_protocol_0_go_by_their_suffix(tmp_path: Path) -> None:
    pickled(ARRAYS, tmp_path / "weights.pkl", protocol=0)
    assert_is_state(read_content(tmp_path / "weights.pkl").tensors)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module."])
def test_weights_are_found_in_checkpoints(key: str, prefix: str, tmp_path: Path) -> None:
    torch.save({"epoch": 3, key: {prefix + name: value for name, value in STATE.items()}}, tmp_path / "last.pth")
    assert_is_state(read_content(tmp_path / "last.pth").tensors)


def test_one_name_without_the_prefix_keeps_it(tmp_path: Path) -> None:
    state = {"model.weight": torch.zeros(2), "bias": torch.zeros(2)}
    torch.save(state, tmp_path / "odd.pth")
    assert set(read_content(tmp_path / "odd.pth").tensors) == set(state)


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never be printed",))


def cut(share: float, kind: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        WRITERS[kind](path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return write


def spoilt(path: Path) -> None:
    """An archive of torch with one bit turned round in the middle of the weights."""
    torch.save(STATE, path)
    data = bytearray(path.read_bytes())
    data[data.index(STATE["conv.weight"].numpy().tobytes()) + 17] ^= 1
    path.write_bytes(data)


REFUSED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b""), "expected a weights file (safetensors, .pth, .pkl or .h5); the file is empty"),
    (lambda path: path.write_text("a page of HTML"), "or .h5); it begins with b'a page of'"),
    (cut(0.5, "torch"), "expected a complete file of torch; it is damaged or cut short: "),
    (spoilt, "expected a complete file of torch; it is damaged or cut short: Bad CRC-32 for file 'weights/data/0'"),
    (cut(0.5, "torch before 1.6"), "expected a state_dict of plain tensors; it cannot be read: "),
    (cut(0.9, "safetensors"), "expected a complete safetensors file; it is damaged or cut short: "),
    (cut(0.5, "pickle"), "expected a pickle of plain numpy arrays; it is damaged: "),
    (
        lambda path: torch.save({"model": Payload()}, path),
        "print, refused; save the state_dict alone to leave that out",
    ),
    (lambda path: pickled({"model": Payload()}, path), "it refers to __builtin__.print, refused"),
    (lambda path: pickled({"model": Payload()}, path, 5), "it refers to builtins.print, refused"),
    (lambda path: torch.save([1, 2], path), "expected a state_dict, tensors by name; it holds a list"),
    (lambda path: pickled(3.5, path), "expected a state_dict, tensors by name; it holds a float"),
    (lambda path: torch.save({"epoch": 3}, path), "expected a state_dict of tensors alone; 'epoch' is a int"),
    (
        lambda path: torch.save({"w": torch.zeros(3, device="meta")}, path),
        "hold all their values; 'w' is without values",
    ),
    (lambda path: pickled({"w": np.zeros(3, np.longdouble)}, path), "numbers of 64 bits at most; 'w' has "),
    (
        lambda path: torch.save({"w": torch.zeros(1, 3).expand(10**12, 3)}, path),
        "expected every number of 'w' [1000000000000, 3] in the file; found fewer",
    ),
]


@pytest.mark.parametrize(("write", "message"), REFUSED)
def test_what_is_refused(
    write: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.bin"
    write(path)
    with pytest.raises(UserError) as raised:
        read_content(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_archives_without_checksums(tmp_path: Path) -> None:
    """torch can be told to leave them out, which saves it time."""
    written, path = io.BytesIO(), tmp_path / "weights.pth"
    torch.save(STATE, written)
    data = bytearray(written.getvalue())
    with zipfile.ZipFile(written) as archive:
        for part in archive.infolist():
            data = data.replace(part.CRC.to_bytes(4, "little"), b"\0\0\0\0")
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert {part.CRC for part in archive.infolist()} == {0}
    assert_is_state(read_content(path).tensors)


def test_archives_that_unfold_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, small = tmp_path / "weights.pth", tmp_path / "small.pth"
    torch.save({"w": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as compressed:
        for entry in whole.infolist():
            compressed.writestr(entry.filename, whole.read(entry))
    assert set(read_content(small).tensors) == {"w"}
    monkeypatch.setattr(limits, "_ALWAYS", 100_000)
    assert set(read_content(path).tensors) == {"w"}
    with pytest.raises(UserError, match=r"small\.pth: expected an archive of about the size of its parts; they are"):
        read_content(small)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth: cannot be read: No such file or directory"):
        read_content(tmp_path / "none.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_what_is_written_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"weights{suffix}"
    write_content(STATE, path)
    assert_is_state(read_content(path).tensors)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_suffixes_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.onnx: expected a name that ends in \.safetensors, .*; got '\.onnx'"):
        write_content(STATE, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_numpy_numbers_are_tensors(tmp_path: Path) -> None:
    pickled({"steps": np.int64(7)}, tmp_path / "weights.pkl")
    assert torch.equal(read_content(tmp_path / "weights.pkl").tensors["steps"], torch.tensor(7))
