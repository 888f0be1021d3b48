"""Everything that can be trained, by name: presets and their samples."""
