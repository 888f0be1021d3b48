"""TensorRT engines (experimental: not run on a GPU yet): builds, caches and runs them."""
