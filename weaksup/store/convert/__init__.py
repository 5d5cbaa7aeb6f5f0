"""Region features in other tools' files: writing precomp folders, reading what others wrote."""
