"""The service: serves twin encoders over HTTP. Light: no torch, no onnx, no training code."""

__version__ = "0.1.0"
