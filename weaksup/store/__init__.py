"""The region store: features, boxes and concepts of all images in one mapped file."""

from weaksup.store.reader import RegionBatch, RegionStore, open_store
from weaksup.store.schema import FORMAT, VERSION, shard_path, shard_ranges
from weaksup.store.writer import RegionWriter, StoreItem, write_store

__all__ = [
    "FORMAT",
    "VERSION",
    "RegionBatch",
    "RegionStore",
    "RegionWriter",
    "StoreItem",
    "open_store",
    "shard_path",
    "shard_ranges",
    "write_store",
]
