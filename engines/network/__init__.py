"""The matting network in torch: GFM, its encoders and decoders, and its weights on disk."""
