"""What makes the mattes of an evaluation: networks by test strategy, trimap-based methods, other programs."""
