"""Which un-annotated images to write captions for next, and the worksheet to write them in."""
