"""Pickles of arrays: what holds arrays is read, whoever wrote it; what would run something is refused."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmrcnn.errors import UserError
from fastmrcnn.weights.pickles import read_pickle


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    return path


def refused(tmp_path: Path, content: bytes) -> str:
    path = written(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_pickle(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected a pickle of plain numpy arrays; ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: expected a pickle of plain numpy arrays; ")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8", "f2", "i8", "u1", "?"])
def test_arrays_survive(tmp_path: Path, protocol: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(3, 4, 5)) * 50).astype(dtype)
    content = {"c": values, "fortran": np.asfortranarray(values), "scalar": values[0, 0, 0], "none": values[:0]}
    read = read_pickle(written(tmp_path, pickle.dumps(content, protocol=protocol)))
    for name, value in content.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == value.dtype.newbyteorder("=")
        assert read[name].shape == value.shape
    read["c"][:] = 0  # writable


def test_containers_survive(tmp_path: Path) -> None:
    array = np.arange(3)
    content = {"model": OrderedDict(a=array), "list": [array, (1, "é", None, 2.5)], "__author__": "somebody"}
    read = read_pickle(written(tmp_path, pickle.dumps(content, protocol=2)))
    assert read["__author__"] == "somebody"
    assert read["list"][1] == (1, "é", None, 2.5)
    np.testing.assert_array_equal(read["model"]["a"], array)
    np.testing.assert_array_equal(read["list"][0], array)


def python2_pickle(values: np.ndarray) -> bytes:
    """{"w": values} as Python 2 and its numpy wrote it: byte strings for everything, old module names."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    shape = b"".join(b"K" + bytes([side]) for side in values.shape)
    dtype = (
        b"cnumpy\ndtype\n("
        + short(b"f4")
        + b"K\x00K\x01tR(K\x03"
        + short(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    data = values.tobytes()
    raw = b"T" + len(data).to_bytes(4, "little") + data
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + short(b"b") + b"tR"
    state = b"(K\x01(" + shape + b"t" + dtype + b"\x89" + raw + b"tb"
    return b"\x80\x02}" + short(b"w") + array + state + b"s."


def test_pickles_of_python_2(tmp_path: Path) -> None:
    values = np.arange(100, 106, dtype="<f4").reshape(2, 3)
    np.testing.assert_array_equal(read_pickle(written(tmp_path, python2_pickle(values)))["w"], values)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch",)), (eval, ("1",)), (getattr, (1, "real")), (np.load, ("x",)), (np.frombuffer, (b"",))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_pickles_run_nothing(tmp_path: Path, protocol: int, function: Any, arguments: tuple[Any, ...]) -> None:
    marker = tmp_path / "ran"
    arguments = (f"touch {marker}",) if function is os.system else arguments
    message = refused(tmp_path, pickle.dumps({"model": {"w": Call(function, *arguments)}}, protocol=protocol))
    assert function.__name__ in message
    assert message.endswith("refused")
    assert not marker.exists()


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "hostile_module.thing" in refused(tmp_path, b"chostile_module\nthing\n.")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    assert (
        refused(tmp_path, pickle.dumps(np.array([{}, []], dtype=object))) == "it refers to an array of object, refused"
    )


def test_structured_and_text_dtypes_are_refused(tmp_path: Path) -> None:
    assert "refers to an array of" in refused(tmp_path, pickle.dumps(np.array(["text"])))


def test_references_outside_the_file_are_refused(tmp_path: Path) -> None:
    class Outside(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return "elsewhere" if value == "moved" else None

    stream = io.BytesIO()
    Outside(stream, protocol=2).dump(["moved"])
    assert "it is damaged" in refused(tmp_path, stream.getvalue())


def test_arrays_kept_outside_the_file_are_refused(tmp_path: Path) -> None:
    outside: list[pickle.PickleBuffer] = []
    content = pickle.dumps({"w": np.arange(4.0)}, protocol=5, buffer_callback=outside.append)
    assert len(outside) == 1
    assert "it is damaged" in refused(tmp_path, content)


def test_shared_lists_are_not_multiplied(tmp_path: Path) -> None:
    """A few hundred bytes that would unfold to 2^60 lists."""
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    read = read_pickle(written(tmp_path, pickle.dumps(nested, protocol=2)))
    assert read[0] is read[1]


def repeated(count: int) -> bytes:
    """The same ten thousand bytes named as ``count`` arrays."""
    state = pickle.dumps((1, (10_000,), np.dtype("u1"), False, bytes(10_000)), protocol=2)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return state[:-1] + b"q\xff0]" + (array + b"h\xffba") * count + b"."


def test_bytes_that_many_arrays_name_are_not_multiplied(tmp_path: Path) -> None:
    """Fifty bytes an array of ten thousand: a file of megabytes would fill any memory."""
    assert len(read_pickle(written(tmp_path, repeated(1)))) == 1
    assert refused(tmp_path, repeated(1000)) == "it is damaged: it unfolds to many times its size"


@pytest.mark.parametrize("name", ["ccollections\nOrderedDict\n", "c_codecs\nencode\n"])
def test_nor_what_stand_ins_copy(name: str, tmp_path: Path) -> None:
    is_dict = "Dict" in name
    argument = pickle.dumps(tuple((i, i) for i in range(9000)) if is_dict else "x" * 9000, protocol=2)[:-1]
    call = name.encode() + b"h\xff" + (b"\x85R" if is_dict else b"U\x06latin1\x86R") + b"a"
    content = argument + b"q\xff0]" + call * 1000 + b"."
    assert refused(tmp_path, content) == "it is damaged: it unfolds to many times its size"


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "it is damaged" in refused(tmp_path, pickle.dumps(endless, protocol=2))


def test_a_pickle_cannot_change_what_later_ones_see(tmp_path: Path) -> None:
    """BUILD sets attributes on whatever lies on the stack, functions included."""
    setting = b"\x80\x02c_codecs\nencode\n(N}U\x0c__defaults__(U\x01xU\x06latin1tstb."
    read_pickle(written(tmp_path, setting))
    values = np.arange(4)
    np.testing.assert_array_equal(read_pickle(written(tmp_path, pickle.dumps(values, protocol=2))), values)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = pickle.dumps({"model": {"w": np.arange(20.0)}}, protocol=2)
    for length in range(len(whole)):
        refused(tmp_path, whole[:length])


def test_bytes_that_do_not_fit_the_shape(tmp_path: Path) -> None:
    whole = python2_pickle(np.zeros((2, 3), "<f4"))
    assert "it is damaged" in refused(tmp_path, whole.replace(b"K\x02K\x03t", b"K\x02K\x04t"))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04", b"\x80\x02.", b"\x89HDF\r\n"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    assert "it is damaged" in refused(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7fh\x00.",  # remembered as number 2^31 - 1: room for as many before it
        b"\x80\x04\x8d" + b"\xff" * 5 + b"\0\0\0a.",  # a text of a tebibyte
        b"\x80\x05\x96" + b"\xff" * 5 + b"\0\0\0a.",  # a bytearray of one
        b"\x80\x04\x95" + b"\xff" * 5 + b"\0\0\0a.",  # a frame of one
    ],
    ids=["memo", "text", "bytearray", "frame"],
)
def test_a_few_bytes_cannot_ask_for_all_memory(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="expected a pickle of plain numpy arrays; "):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pkl: cannot be read: No such file or directory"):
        read_pickle(tmp_path / "none.pkl")
