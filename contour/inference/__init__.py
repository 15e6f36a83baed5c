"""Model packages and what runs them: manifest, checksum, ONNX Runtime session, tiling, prediction."""
