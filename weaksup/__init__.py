"""Data preparation for weakly supervised text-image retrieval.

Importing this package loads neither torch nor spaCy.
"""

__version__ = "0.1.0"
