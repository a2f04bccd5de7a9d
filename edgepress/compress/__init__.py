"""Pruning, clustering and quantisation: each maps ONNX to ONNX."""
