"""Training the float network and exporting it to ONNX; PyTorch."""
