"""What to install; settings of tools stand in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "tvm_dwfuse/__init__.py").read_text())
README = HERE / "README.md"

PEERS = ["onnxruntime", "openvino"]
TRAIN = ["scikit-learn"]
TUNE = ["xgboost"]
REPORT = ["jinja2", "matplotlib"]
TEST = ["hypothesis", "mypy", "pytest", "ruff", *PEERS, *REPORT, *TRAIN, *TUNE]

setup(
    name="tvm-dwfuse",
    version=VERSION[1],
    description="Fused depthwise-separable convolutions for Apache TVM",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(
        include=["tvm_dwfuse", "tvm_dwfuse.*", "relay_passes", "relay_passes.*", "schedules", "schedules.*"]
    ),
    package_data={
        "tvm_dwfuse": ["tuned/*/*.json"],
        "tvm_dwfuse.armv8": ["native/*", "*.csv"],
        "tvm_dwfuse.bench": ["*.csv"],
        "tvm_dwfuse.report_page": ["*.jinja"],
        "tvm_dwfuse.zoo": ["tables/*"],
        "tvm_dwfuse.codegen_c": ["runtime/*", "templates/*"],
        "tvm_dwfuse.codegen_gap8": ["kernels/*", "runtime/*", "templates/*"],
    },
    install_requires=[
        "apache-tvm>=0.27.0.post1,<0.28",
        # 0.1.15 and later crash in save_json with TVM 0.27.0.post1.
        "apache-tvm-ffi>=0.1.14.post0,<0.1.15",
        "cloudpickle",
        "numpy",
        "onnx",
        "psutil",
        "rich",
        "tornado",
        "typer",
    ],
    extras_require={
        "peers": PEERS,
        "quantize": ["onnxruntime"],
        "torch": ["torch"],
        "train": TRAIN,
        "tune": TUNE,
        "report": REPORT,
        "test": TEST,
        "dev": [*TEST, "pre-commit"],
    },
    entry_points={"console_scripts": ["dwfuse = tvm_dwfuse.cli:main"]},
)
