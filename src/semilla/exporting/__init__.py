"""A finished model in the forms other programs read: ONNX, safetensors with JSON, and a model card."""

from semilla.exporting.folder import FORMATS, Exported, export
from semilla.exporting.onnx import Agreement

__all__ = ["FORMATS", "Agreement", "Exported", "export"]
