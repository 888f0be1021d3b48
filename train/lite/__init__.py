"""The recipe of the shipped network: its training images, and the steps after training: averaging, export, the card."""
