"""TensorRT engines (experimental: no GPU has run them yet): built, cached and run."""
