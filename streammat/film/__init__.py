"""What film tools exchange: numbered images of high depth, frame ranges, colour spaces, masks. Files need the extra ``film``."""
