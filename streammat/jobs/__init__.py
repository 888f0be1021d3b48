"""What the commands do, for programs: options in, a finished file and a report out."""
