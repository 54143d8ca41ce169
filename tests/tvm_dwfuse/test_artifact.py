from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import tvm_dwfuse
from tvm_dwfuse import DwfuseError, artifact
from tvm_dwfuse.artifact import Manifest, TargetInfo, TensorInfo

MANIFEST = Manifest(
    model="net",
    target=TargetInfo("host", "x86_64", "znver4", ("avx2", "fma")),
    threads=2,
    inputs=(TensorInfo("x", (1, 3, 8, 8), "float32"),),
    outputs=(TensorInfo("y", (1, 10), "float32"), TensorInfo("z", (), "int64")),
    tvm=version("apache-tvm"),
    tvm_dwfuse=tvm_dwfuse.__version__,
    fused={"dwpw_hwc_hwc_hwc_rows": 3},
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "lib.so"
    path.write_bytes(b"library")
    return path


@pytest.fixture
def folder(tmp_path: Path, library: Path) -> Path:
    artifact.write(tmp_path / "build", MANIFEST, library)
    return tmp_path / "build"


def edit(folder: Path, **changes: object) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_manifest_survives_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_written_artifact_is_read_back(folder: Path) -> None:
    assert artifact.read(folder) == MANIFEST
    assert (folder / artifact.LIBRARY).read_bytes() == b"library"
    assert sorted(path.name for path in folder.iterdir()) == [artifact.MANIFEST, artifact.LIBRARY]


def test_c_library_is_part_of_the_artifact(tmp_path: Path, library: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "example.c").write_text("int main(void);")
    artifact.write(tmp_path / "build", MANIFEST, library, tmp_path / "c")
    assert (tmp_path / "build" / "c" / "example.c").read_text() == "int main(void);"
    artifact.write(tmp_path / "build", MANIFEST, library)
    assert not (tmp_path / "build" / "c").exists()


def test_parents_are_made(tmp_path: Path, library: Path) -> None:
    artifact.write(tmp_path / "a" / "b", MANIFEST, library)
    assert artifact.read(tmp_path / "a" / "b") == MANIFEST


def test_an_artifact_is_replaced_whole(folder: Path, library: Path) -> None:
    (folder / "stale").touch()
    artifact.write(folder, replace(MANIFEST, threads=1), library)
    assert artifact.read(folder).threads == 1
    assert not (folder / "stale").exists()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["build", "lib.so"]


def test_an_empty_folder_is_used(tmp_path: Path, library: Path) -> None:
    (tmp_path / "build").mkdir()
    artifact.write(tmp_path / "build", MANIFEST, library)
    assert artifact.read(tmp_path / "build") == MANIFEST


def test_failure_leaves_the_old_artifact_and_nothing_else(folder: Path, library: Path) -> None:
    def fail_halfway() -> None:
        with artifact.replacing(folder) as staging:
            (staging / artifact.LIBRARY).write_bytes(b"half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_halfway()
    assert artifact.read(folder) == MANIFEST
    assert (folder / artifact.LIBRARY).read_bytes() == b"library"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["build", "lib.so"]


def test_failure_leaves_no_new_artifact(tmp_path: Path) -> None:
    with pytest.raises(DwfuseError, match="cannot be written"):
        artifact.write(tmp_path / "build", MANIFEST, tmp_path / "no library")
    assert list(tmp_path.iterdir()) == []


def test_something_else_is_left_alone(tmp_path: Path, library: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DwfuseError, match="not an artifact"):
        artifact.write(tmp_path, MANIFEST, library)
    with pytest.raises(DwfuseError, match="is a file"):
        artifact.write(tmp_path / "thesis.txt", MANIFEST, library)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("place", ["lib.so/build", "/proc/build"])
def test_unwritable_places_are_refused_before_any_work(tmp_path: Path, library: Path, place: str) -> None:
    with pytest.raises(DwfuseError, match="cannot be written"):
        artifact.check_destination(tmp_path / place)


def test_read_names_what_is_missing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DwfuseError, match="nowhere: no such folder"):
        artifact.read(tmp_path / "nowhere")
    (folder / artifact.LIBRARY).unlink()
    with pytest.raises(DwfuseError, match=r"network\.so is missing"):
        artifact.read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}', '{"format": 1, "target": 3}', "\0"])
def test_damaged_manifest(folder: Path, text: str) -> None:
    (folder / artifact.MANIFEST).write_text(text)
    with pytest.raises(DwfuseError, match=r"manifest\.json: damaged"):
        artifact.read(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 99, "artifact format 99"),
        ("tvm_dwfuse", "9.9", r"made by tvm_dwfuse 9\.9"),
        ("tvm", "0.1", r"made by TVM 0\.1"),
    ],
)
def test_other_versions_are_refused(folder: Path, key: str, value: object, message: str) -> None:
    edit(folder, **{key: value})
    with pytest.raises(DwfuseError, match=message):
        artifact.read(folder)


def test_other_machines_are_refused() -> None:
    artifact.check_host(Path("build"), MANIFEST, "x86_64", frozenset({"avx2", "fma", "sse2"}))
    with pytest.raises(DwfuseError, match="compiled for x86_64, this machine is aarch64"):
        artifact.check_host(Path("build"), MANIFEST, "aarch64", frozenset())
    with pytest.raises(DwfuseError, match="this CPU lacks avx2"):
        artifact.check_host(Path("build"), MANIFEST, "x86_64", frozenset({"fma", "sse2"}))
