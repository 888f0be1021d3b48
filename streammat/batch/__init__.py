"""Many shots in one command: planned, cut into shards, processed by workers, recorded in a manifest."""
