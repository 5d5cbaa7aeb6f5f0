"""One HTML file that tells what a run is, how it does, and what to annotate next."""
