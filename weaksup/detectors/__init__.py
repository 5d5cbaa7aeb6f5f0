"""Detectors: boxes, labels and region features behind one protocol (``base.py``).

Importing this package loads no adapter: ``build.py`` imports the one that is asked for.
"""
