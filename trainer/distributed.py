"""One run on several processes: what each does of a batch, and how the batch is whole again.

Every process knows the same global batch, reads and encodes its share of it, and gathers what the
others have encoded. So each computes the very loss that one process would, and goes back through
its own share alone: the sum over the processes is the gradient of the global batch.

torch's ``DistributedDataParallel`` is not used. It averages the gradients of separate losses, and
wraps a ``forward``, which models of two encoders do not have.

Letters: B encoded rows of all processes, L fragments, d embedding width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.encoders import Encoded
from trainer.inputs import RegionInputs
from trainer.models.base import Encoders, RetrievalModel
from trainer.text import TokenBatch
from weaksup.errors import DataError, UserError

T = TypeVar("T")

INTERRUPTED = 130

# torch has types for what happens at its store. What gloo throws is a RuntimeError that begins
# with the place in gloo's source: these files do nothing but talk with other processes. (With
# "[enforce fail at ..." begins what does not fit the call of another one.)
_GLOO_TRANSPORT = re.compile(
    r"\[\S*gloo[\\/]transport[\\/]\w+[\\/](pair|buffer|unbound_buffer)\.cc:\d+\] "
    r"|connectFullMesh failed"
)
# All of NCCL's errors have one type, the own ones too. Its codes do not change; the others are what
# torch says when it gives up. NCCL's system errors are those of its sockets.
_NCCL_LOST = (
    "ncclRemoteError",
    "ncclSystemError",
    "remote process exited",
    "communicator was aborted",
    "collective operation timeout",
)


class LostProcessError(UserError):
    """Another process of the run has ended, or cannot be reached."""


def exit_code(error: BaseException) -> int:
    """With which code the command line ends by this error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return DataError.exit_code
    return getattr(error, "exit_code", 1)


@dataclass(frozen=True)
class World:
    """The processes that train one run, seen from one of them. Alone, it does nothing at all.

    ``join_world`` (trainer/launch.py) gives it. Whoever calls one of its methods, all processes
    must call it, in the same order.

    Attributes:
        rank: of this process, from 0. The first is the only one that writes.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def share(self, count: int) -> slice:
        """Which of ``count`` things are this process's; shares differ by one at most."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def on_first(self, function: Callable[[], T]) -> T:
        """What ``function`` gives on the first process, on every one. The others do not call it.

        Raises:
            SystemExit: on the others, with the exit code of what was raised on the first.
            LostProcessError: if another process has ended.
        """
        if self.alone:
            return function()
        if not self.first:
            result, code = self._from_first(None)
            if code:
                raise SystemExit(code)
            return result  # type: ignore[no-any-return]
        try:
            found = function()
        except BaseException as error:
            with suppress(LostProcessError):
                self._from_first((None, exit_code(error)))
            raise
        self._from_first((found, 0))
        return found

    def _from_first(self, outcome: Any) -> Any:
        held = [outcome]
        with together():
            dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
        return held[0]

    def any(self, flag: bool) -> bool:
        """Whether it is true on some process."""
        return any(other for (other,) in self._exchange(int(flag)))

    def _exchange(self, *numbers: int) -> list[tuple[int, ...]]:
        """These numbers of every process, by rank."""
        if self.alone:
            return [numbers]
        mine = torch.tensor(numbers, dtype=torch.int64)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with together():
            dist.all_gather(found, mine)
        return [tuple(other.tolist()) for other in found]

    def copy_first(self, module: nn.Module) -> None:
        """Give a module on every process the parameters and buffers that it has on the first."""
        if self.alone:
            return
        with torch.no_grad(), together():
            for value in module.state_dict().values():
                # gloo knows no bool.
                dist.broadcast(value.view(torch.uint8) if value.dtype == torch.bool else value, 0)

    def gather(self, encoded: Encoded, *, fragments: bool) -> Encoded:
        """Join every process's rows, by rank.

        The gradient comes back to this process's rows only, and as it is: what is computed from
        the result must be the same on every process.

        Args:
            encoded: the rows of this process.
            fragments: whether those are wanted; without them L is 0.
        """
        if self.alone:
            return encoded
        length = encoded.mask.shape[1] if fragments else 0
        shapes = self._exchange(len(encoded.mask), length)
        counts = [count for count, _ in shapes]
        longest = max(length for _, length in shapes)

        def join(value: Tensor) -> Tensor:
            joined: Tensor = _Gather.apply(value, self.rank, counts)
            return joined

        def grow(value: Tensor) -> Tensor:
            missing = longest - length
            value = value[:, :length]
            return F.pad(value, (0, 0, 0, missing) if value.dim() == 3 else (0, missing))

        pooled = join(encoded.pooled)
        if not longest:
            none = pooled.new_zeros(len(pooled), 0)
            return Encoded(
                pooled, none.unsqueeze(-1).expand(-1, -1, pooled.shape[1]), none, none > 0
            )
        return Encoded(
            pooled,
            join(grow(encoded.fragments)),
            join(grow(encoded.weights)),
            join(grow(encoded.mask).to(torch.uint8)) > 0,
        )

    def add_gradients(self, parameters: Iterable[nn.Parameter], *, scale: float = 1.0) -> None:
        """Give each parameter the sum of its gradients on all processes, times ``scale``.

        A parameter that has none here must have none anywhere.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.alone or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with together():
            dist.all_reduce(flat)
        parts = flat.mul_(scale).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def encoders(self, model: RetrievalModel, *, key: Sequence[int], fragments: bool) -> Encoders:
        """Encoders that take this process's share of a batch and give the whole.

        Args:
            model: that encodes.
            key: of the random numbers in this step: no two steps of a run may have the same.
            fragments: whether those are wanted.
        """
        if self.alone:
            return model
        return _SharedEncoders(model, self, key=key, fragments=fragments)


ALONE = World()


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, the gradient of this one's."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rank: int, counts: list[int]) -> Tensor:
        ctx.start, ctx.count = sum(counts[:rank]), counts[rank]
        most = max(counts)
        padded = value.new_zeros(most, *value.shape[1:])
        padded[: len(value)] = value
        found = [torch.empty_like(padded) for _ in counts]
        with together():
            dist.all_gather(found, padded)
        return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return gradients[0].narrow(0, ctx.start, ctx.count), None, None


class _SharedEncoders:
    """See ``World.encoders``.

    Random numbers are of two kinds. What follows the encoders draws from torch's generator, which
    is in the same state on every process, so that all have the same loss. The encoders draw from
    one that depends on the key, the call and the rank: no two processes drop the same.
    """

    def __init__(
        self, model: RetrievalModel, world: World, *, key: Sequence[int], fragments: bool
    ) -> None:
        self.model, self.world = model, world
        self.key, self.fragments = key, fragments
        self.calls = 0

    def encode_images(self, regions: RegionInputs) -> Encoded:
        with self._own_random(regions.features.device):
            encoded = self.model.encode_images(regions)
        return self.world.gather(encoded, fragments=self.fragments)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        with self._own_random(tokens.ids.device):
            encoded = self.model.encode_texts(tokens)
        return self.world.gather(encoded, fragments=self.fragments)

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        return self.model.similarity(images, texts)

    @contextmanager
    def _own_random(self, device: torch.device) -> Iterator[None]:
        self.calls += 1
        sequence = np.random.SeedSequence([*self.key, self.calls, self.world.rank])
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
            yield


@contextmanager
def together() -> Iterator[None]:
    """Say in words that another process does not answer; other errors stay what they are."""
    try:
        yield
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise LostProcessError(
            f"another process of this run has ended: {str(error).splitlines()[0]}",
            "its own message says why; the same command goes on from the last saved state",
        ) from error


def _lost(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistNetworkError | dist.DistStoreError):
        return True
    if isinstance(error, dist.DistBackendError):
        return any(words in str(error) for words in _NCCL_LOST)
    return _GLOO_TRANSPORT.search(str(error)) is not None
