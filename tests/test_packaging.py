from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["tvm_dwfuse", "relay_passes", "schedules"])
def test_packages_are_this_checkout(package: str) -> None:
    """PyPI has an unrelated `schedules`."""
    assert Path(import_module(package).__file__).parent == ROOT / package


@pytest.mark.parametrize("module", ["tvm_dwfuse", "tvm_dwfuse.cli", "tvm_dwfuse.variants", "tvm_dwfuse.blocks"])
def test_light_modules_do_not_import_tvm(module: str) -> None:
    result = python("-c", f"import sys, {module}; print([name for name in ('tvm', 'onnx') if name in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_lazy_names_are_there() -> None:
    import tvm_dwfuse

    for name in tvm_dwfuse.__all__:
        assert getattr(tvm_dwfuse, name) is not None
    assert set(tvm_dwfuse.__all__) <= set(dir(tvm_dwfuse))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tvm_dwfuse.nothing


def test_help_comes_at_once() -> None:
    start = time.perf_counter()
    result = python("-m", "tvm_dwfuse", "--help")
    assert time.perf_counter() - start < 2
    assert result.returncode == 0
    assert "compile" in result.stdout


def test_every_folder_of_modules_is_a_package() -> None:
    """`find_packages` passes over a folder without __init__.py, and an installed copy would lack it."""
    for top in ("tvm_dwfuse", "relay_passes", "schedules"):
        for folder in {path.parent for path in (ROOT / top).rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


def test_installed_metadata() -> None:
    import tvm_dwfuse

    dist = distribution("tvm-dwfuse")
    assert dist.version == tvm_dwfuse.__version__
    (script,) = entry_points(group="console_scripts", name="dwfuse")
    assert script.value == "tvm_dwfuse.cli:main"
    assert any(requirement.startswith("apache-tvm-ffi") and "<0.1.15" in requirement for requirement in dist.requires)
