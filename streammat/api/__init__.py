"""The Python API: what `import streammat` offers. Keyword arguments have the names and defaults of the command line's options.

Images are uint8 or uint16 arrays (H, W, 3), RGB, full range; or a path or an open binary file of a PNG, JPEG, WebP or TIFF,
which is turned upright by its EXIF tag. Backgrounds and masks are arrays, open files or paths, too, and videos open files or
paths (`streammat.api.inputs`). Outputs are paths: their extension picks container and codec, and a file takes its name when it
is complete, which a file object cannot; write to a temporary file and copy that. Every function raises `StreammatError`: `UsageError` where the call cannot be meant,
`InputError` and `OutputError` where a file cannot be read or written, `EngineError` where the network cannot be opened or
fails.
"""
