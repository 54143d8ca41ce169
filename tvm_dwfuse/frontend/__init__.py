"""Import of networks: ONNX files and models to Relax modules. Canonical form is the business of ``relay_passes``."""

from .importer import import_onnx
from .quantized import import_quantized, read_quantized

__all__ = ["import_onnx", "import_quantized", "read_quantized"]
