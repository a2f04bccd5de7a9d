"""ONNX models as data: reading, writing, weights, statistics, quantisation parameters, inference."""
