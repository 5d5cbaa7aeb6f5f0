"""How all cells of a comparison stand: read once, and brought up to date cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.compare.cell import cell_fingerprint
from pipelines.compare.data import ComparisonData
from pipelines.compare.plan import Cell
from pipelines.compare.results import Done
from pipelines.compare.standing import Undone, find_cell


class Ledger:
    """How all cells of a comparison stand.

    Args:
        cells: the plan.
        data: of the comparison.
        protocols: of the evaluation.
        folder: with a folder a training.

    Raises:
        DataError: if a file of a cell is there and cannot be read.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        data: ComparisonData,
        *,
        protocols: Sequence[str],
        folder: Path,
    ) -> None:
        self.cells = tuple(cells)
        self._data, self._protocols, self._folder = data, tuple(protocols), folder
        self._found = [self._find(cell) for cell in self.cells]

    @property
    def done(self) -> list[Done]:
        """What is done, in the order of the plan."""
        return [found for found in self._found if isinstance(found, Done)]

    @property
    def trainings(self) -> list[tuple[Cell, Done | Undone]]:
        """The first cell of each training, and how it stands."""
        first: dict[str, tuple[Cell, Done | Undone]] = {}
        for cell, found in zip(self.cells, self._found, strict=True):
            first.setdefault(cell.folder, (cell, found))
        return list(first.values())

    def place(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self._folder / cell.folder

    def update(self, training: Cell) -> Done | Undone:
        """Read again how the cells of one training stand.

        Raises:
            DataError: if a file of it is there and cannot be read.
        """
        same = [n for n, cell in enumerate(self.cells) if cell.folder == training.folder]
        for number in same:
            self._found[number] = self._find(self.cells[number])
        return self._found[same[0]]

    def _find(self, cell: Cell) -> Done | Undone:
        fingerprint = cell_fingerprint(cell, self._data, self._protocols)
        return find_cell(self.place(cell), cell, fingerprint)
