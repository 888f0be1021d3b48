"""Alpha to train on, made from masks and from other networks."""
