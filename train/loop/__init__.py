"""The training loop with its losses, optimiser, checkpoints and processes."""
