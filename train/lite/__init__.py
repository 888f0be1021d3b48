"""The recipe of the shipped network: making training images, averaging, export and scoring."""
