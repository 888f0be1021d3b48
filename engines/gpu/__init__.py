"""The whole way of a frame on a GPU: upload, network input, matte, compositing, download."""
