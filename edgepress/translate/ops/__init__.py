"""Operator families: for each ONNX operator a small function that plans it."""
