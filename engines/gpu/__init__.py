"""The GPU stage: upload, network input, matte, compositing and download of a frame."""
