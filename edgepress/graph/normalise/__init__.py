"""Any producer's ONNX file → the form that the passes here expect, or one line that says why not."""
