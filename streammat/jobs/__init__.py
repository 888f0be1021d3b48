"""The jobs behind the commands `video`, `image` and `webcam`: options in, the parts opened and run, a report out."""
