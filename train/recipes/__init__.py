"""What can be trained, by name: options, presets, and the samples that each takes."""
