"""What a network is measured by: metrics, test strategies, the paper's tables, other networks beside it."""
