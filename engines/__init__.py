"""The matting network and what runs it: image in, alpha out; nothing here knows of video."""
