"""The processes of a run: several as one, and signals that end them."""
