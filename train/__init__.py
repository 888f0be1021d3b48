"""Training of the matting network: data, losses, metrics and the loop; nothing imports this package."""
