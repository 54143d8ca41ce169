from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tvm_dwfuse import DwfuseError
from tvm_dwfuse.artifact import TensorInfo
from tvm_dwfuse.files import check_writable, parse_names, parse_shapes, read_inputs, write_outputs, write_text

X = TensorInfo("x", (2, 3), "float32")
N = TensorInfo("n", (1,), "int64")


def test_shapes() -> None:
    assert parse_shapes(["x:1,3,224,224", "scope/y:0:7"]) == {"x": (1, 3, 224, 224), "scope/y:0": (7,)}
    assert parse_shapes(None) is None


@pytest.mark.parametrize("text", ["x", "x:", ":1", "x:1,a", "x:0,3", "x:-1", "x:1,,2"])
def test_bad_shapes(text: str) -> None:
    with pytest.raises(DwfuseError, match=f"^--shape {text}: expected NAME"):
        parse_shapes([text])


def test_names() -> None:
    assert parse_names("--against", " a,b,a,", ("a", "b", "c")) == ["a", "b"]
    with pytest.raises(DwfuseError, match="--against: unknown name 'z'; known: a, b"):
        parse_names("--against", "a,z", ("a", "b"))


def test_inputs_come_in_order(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(X.shape, np.float32))
    np.save(tmp_path / "n.npy", np.array([7]))
    arrays = read_inputs([f"n={tmp_path}/n.npy", f"x={tmp_path}/x.npy"], (X, N))
    assert list(arrays) == ["x", "n"]
    assert arrays["n"][0] == 7
    assert read_inputs([f"{tmp_path}/x.npy"], (X,))["x"].shape == (2, 3)


def test_bad_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.ones(1), b=np.ones(1))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    with pytest.raises(DwfuseError, match=r"shape \[3, 2\] given, \[2, 3\] expected"):
        read_inputs([f"{tmp_path}/x.npy"], (X,))
    with pytest.raises(DwfuseError, match=r"several inputs \(x, n\)"):
        read_inputs([f"{tmp_path}/x.npy"], (X, N))
    for name, message in (
        ("objects.npy", "not a .npy file of numbers"),
        ("text.npy", "not a .npy file of numbers"),
        ("empty.npy", "not a .npy file of numbers"),
        ("several.npz", "several arrays"),
        ("nowhere.npy", "cannot be read"),
    ):
        with pytest.raises(DwfuseError, match=f"{name}: .*{message}"):
            read_inputs([f"{tmp_path}/{name}"], (X,))


def test_outputs(tmp_path: Path) -> None:
    x, n = np.ones(X.shape, np.float32), np.array([7])
    write_outputs(tmp_path / "y.npy", [X], [x])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)
    write_outputs(tmp_path / "y.npz", [X, N], [x, n])
    with np.load(tmp_path / "y.npz") as several:
        np.testing.assert_array_equal(several["n"], n)
    with pytest.raises(DwfuseError, match=r"2 outputs; name a \.npz file"):
        write_outputs(tmp_path / "z.npy", [X, N], [x, n])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y.npy", "y.npz"]


def test_unwritable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match=r"nowhere/a\.txt: cannot be written"):
        write_text(tmp_path / "nowhere" / "a.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DwfuseError, match="folder: cannot be written"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(DwfuseError, match="folder: is a folder"):
        check_writable(tmp_path / "folder")
    with pytest.raises(DwfuseError, match=r"nowhere/a\.txt: cannot be written"):
        check_writable(tmp_path / "nowhere" / "a.txt")
    check_writable(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
