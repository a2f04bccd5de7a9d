"""Converters from ONNX to TFLite, and reading back what they made."""
