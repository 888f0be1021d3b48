"""Labels for training: alpha made from masks and from other networks."""
