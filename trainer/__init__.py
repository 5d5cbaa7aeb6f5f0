"""Embedding models, losses, the training loop, and search with what it trained.

Knows nothing of detectors. ``load_run`` is what others need of it most::

    from trainer import load_run

    run = load_run("weaksup-workspace/runs/a3vse")
    run.search("a dog runs through the snow", top=3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.run import Run, load_run
else:
    # Not in what types are checked against: there it would make any name right.
    def __getattr__(name: str) -> object:
        """Import what needs torch when it is asked for."""
        if name in __all__:
            import importlib

            return getattr(importlib.import_module("trainer.run"), name)
        raise AttributeError(f"module 'trainer' has no attribute '{name}'")


__all__ = ["Run", "load_run"]
