"""Networks brought to files: ONNX for every engine, int8, other programs' weights, and the check that nothing changed."""
