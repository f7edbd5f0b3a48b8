"""The device side: runs exported networks with onnxruntime; knows no torch."""
