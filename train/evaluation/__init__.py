"""Evaluation of networks at full size: the paper's protocol and tables, comparison with other networks, runs without an ingredient."""
