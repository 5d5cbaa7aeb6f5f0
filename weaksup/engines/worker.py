"""What one worker does, in whatever process it is."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import closing

from weaksup.analyser import Traits
from weaksup.detectors.build import ModelChoice
from weaksup.engines.crew import Event, Failed, Finished, Ready, Step
from weaksup.engines.site import Site
from weaksup.errors import UserError
from weaksup.extract import Shard, extract_shard


class Worker:
    """Builds the models once, and extracts one shard after the other; picklable until then.

    Args:
        models: which.
        batch_size: images that are detected and committed together.
        threads: that decode and, where the models allow it, detect.
        site: what must be the same where the worker is; None on the same machine.
    """

    def __init__(
        self, models: ModelChoice, *, batch_size: int, threads: int, site: Site | None = None
    ) -> None:
        self._choice = models
        self._site = site
        self._batch_size = batch_size
        self._threads = threads

    def prepare(self) -> Event:
        """Build the models; ``Ready`` or ``Failed``."""
        try:
            if self._site is not None:
                self._site.check()
            self._detector, self._feature_model = self._choice.build()
            traits = Traits.of(self._detector, self._feature_model, batch_size=self._batch_size)
        except Exception as error:
            return _failed(error)
        return Ready(traits)

    def extract(self, shard: Shard) -> Generator[Event, None, None]:
        """Extract a shard, after ``prepare``: any number of ``Step``, then ``Finished`` or
        ``Failed``."""
        try:
            models = self._detector, self._feature_model
            with closing(extract_shard(shard, *models, threads=self._threads)) as steps:
                for done in steps:
                    yield Step(done)
        except Exception as error:
            yield _failed(error)
        else:
            yield Finished()


def _failed(error: Exception) -> Failed:
    # Only errors of our own and plain ones are sure to survive the way to another process.
    if isinstance(error, UserError):
        sent: Exception = error
    elif isinstance(error, OSError) and error.errno is not None:
        sent = OSError(error.errno, error.strerror, error.filename)
    else:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    return Failed(sent, traceback.format_exc())
