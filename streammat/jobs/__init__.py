"""The jobs behind the commands: options in, a finished file and a report out."""
