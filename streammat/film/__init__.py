"""Film plates: numbered images of high bit depth, frame ranges, colour spaces, masks. Reading and writing files needs the extra
``film``.
"""
