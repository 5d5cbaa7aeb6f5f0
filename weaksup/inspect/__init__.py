"""Looking at what a region store holds: figures of it, and pictures with boxes."""
