"""Sound of live runs: devices, sources, capture on the run's clock, and monitoring."""
