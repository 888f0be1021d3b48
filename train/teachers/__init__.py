"""Other people's networks that label images for training, and that ours are measured beside; none of them ships."""
