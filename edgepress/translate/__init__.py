"""ONNX → TensorFlow in NHWC: one layout pass, and two faces over it (Keras layers, a function)."""
