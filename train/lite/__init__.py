"""The recipe of the shipped network: how its training images are made, and how it is averaged, exported and scored."""
