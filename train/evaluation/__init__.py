"""Evaluation of networks: metrics, test strategies, the paper's tables, comparison with other networks."""
