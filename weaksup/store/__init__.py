"""The region store: features, boxes and concepts of all images in one mapped file."""

from weaksup.store.journal import StoreBusyError
from weaksup.store.pooled import not_finite, pool_features
from weaksup.store.readable import readable_ids
from weaksup.store.reader import RegionBatch, RegionStore, open_store
from weaksup.store.schema import (
    FORMAT,
    IMPORTED,
    VERSION,
    StorePlan,
    is_imported,
    shard_path,
    shard_ranges,
)
from weaksup.store.shards import Overwriting, check_shards, finish_shards, is_begun
from weaksup.store.writer import RegionWriter, StoreItem, write_store

__all__ = [
    "FORMAT",
    "IMPORTED",
    "VERSION",
    "Overwriting",
    "RegionBatch",
    "RegionStore",
    "RegionWriter",
    "StoreBusyError",
    "StoreItem",
    "StorePlan",
    "check_shards",
    "finish_shards",
    "is_begun",
    "is_imported",
    "not_finite",
    "open_store",
    "pool_features",
    "readable_ids",
    "shard_path",
    "shard_ranges",
    "write_store",
]
