"""Many shots in one command: planned, cut into shards, worked on by processes, remembered in a manifest."""
