"""Whether a machine has what weaksup needs: packages, data, room, file locks.

Nothing here is imported at import time beside Python itself: what is looked at may be broken.
"""
