"""Weights of ONNX models, read and written."""
