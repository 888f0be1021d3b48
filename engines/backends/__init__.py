"""One engine per library that runs networks; `streammat.engines.registry` lists them."""
