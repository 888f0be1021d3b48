"""Lists and opens cameras, virtual cameras and sound devices."""
