"""The page of ``weaksup serve``."""
