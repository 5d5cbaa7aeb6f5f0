"""The images of a store that could be read: those that have regions."""

from __future__ import annotations

from weaksup.errors import DataError
from weaksup.store.reader import RegionStore
from weaksup.types import STATUS_UNREADABLE
from weaksup.wording import counted


def readable_ids(store: RegionStore) -> tuple[str, ...]:
    """The ids of the images that could be read, in the store's order.

    Raises:
        DataError: if there is none: nothing can be done with such a store.
    """
    found = tuple(
        name
        for name, status in zip(store.ids, store.status, strict=True)
        if status != STATUS_UNREADABLE
    )
    if not found:
        first = next((f": {name}: {why}" for name, why in store.problems if why), "")
        raise DataError(
            f"none of {counted(len(store), 'image')} in the region store {store.path} could be "
            f"read{first}",
            "mend them, or name another folder: `weaksup extract --images DIR --overwrite`",
        )
    return found
