"""Live video: its main path, the session around it, and the fallback images for failures."""
