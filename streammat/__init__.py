"""streammat: cut people and animals out of live and recorded video.

The command line is ``streammat``; programs start at ``streammat.jobs``.
"""

__all__: list[str] = []
