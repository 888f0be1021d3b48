"""Exports networks to files (ONNX, int8), imports weights, and checks that results are unchanged."""
