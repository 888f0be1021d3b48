"""The training loop with its objective, optimiser and checkpoints."""
