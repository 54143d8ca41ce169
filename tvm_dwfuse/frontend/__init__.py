"""Import of networks: ONNX files and models to Relax modules. Canonical form is the business of ``relay_passes``."""

from .importer import import_onnx

__all__ = ["import_onnx"]
