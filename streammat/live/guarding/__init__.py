"""Which mattes a live run may show: the guard, its memory of the real background, and the inference that asks both."""
