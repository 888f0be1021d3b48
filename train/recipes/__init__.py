"""Everything that can be trained, by name: options, presets, and their samples."""
