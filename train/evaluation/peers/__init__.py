"""Our networks beside those of others: on single images, on sequences of frames, on clips to look at."""
