"""Measures of networks: metrics of mattes, scores of held-out images, complexity; contact sheets for the eye."""
