"""A small grammar that describes a scene in varied words.

Five sentences a scene. None lists everything: each names one to three objects, leaves out some
attributes, and takes any synonym, so that sentences about one scene share few words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.scenes.types import SceneObject
from pipelines.scenes.words import BACKGROUNDS, COLOURS, NOUNS, NUMBERS, RELATIONS, SIZES

CAPTIONS_PER_SCENE = 5


class Speaker:
    """Chooses words for one scene.

    Args:
        rng: every choice comes from it.
        objects: what the scene shows.
        background: what it shows it on.
    """

    def __init__(
        self, rng: np.random.Generator, *, objects: Sequence[SceneObject], background: str
    ) -> None:
        self._rng = rng
        self._objects = objects
        self._background = background

    def choose(self, options: Sequence[str]) -> str:
        """One of ``options``."""
        return options[int(self._rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return bool(self._rng.random() < probability)

    def some(self, count: int) -> list[SceneObject]:
        """Up to ``count`` different objects; large ones are noticed more often."""
        weights = np.array([1.0 + 2.0 * (o.size == "large") for o in self._objects])
        size = min(count, len(self._objects))
        chosen = self._rng.choice(
            len(self._objects), size=size, replace=False, p=weights / weights.sum()
        )
        return [self._objects[i] for i in chosen]

    def place(self) -> str:
        """Where it is: "on a lawn"."""
        return self.choose(BACKGROUNDS[self._background])

    def maybe_place(self) -> str:
        """A place with a space before it, or nothing."""
        return f" {self.place()}" if self.chance(0.6) else ""

    def noun(self, kind: str, *, plural: bool = False) -> str:
        """Any word for a kind."""
        nouns = NOUNS[kind]
        return nouns[int(self._rng.integers(len(nouns)))][int(plural)]

    def adjectives(self, thing: SceneObject) -> list[str]:
        """Size and colour, each of them only sometimes."""
        words = []
        if self.chance(0.15 if thing.size == "medium" else 0.45):
            words.append(self.choose(SIZES[thing.size]))
        if self.chance(0.75):
            words.append(self.choose(COLOURS[thing.colour][1]))
        return words

    def phrase(self, thing: SceneObject) -> str:
        """An object with its article: "a small crimson ball"."""
        words = " ".join([*self.adjectives(thing), self.noun(thing.kind)])
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def group(self) -> str | None:
        """Objects of one kind with their number, or None where no kind comes twice."""
        counts = Counter(thing.kind for thing in self._objects)
        kinds = [kind for kind, count in counts.items() if count in NUMBERS]
        if not kinds:
            return None
        kind = self.choose(kinds)
        colours = {thing.colour for thing in self._objects if thing.kind == kind}
        words = [self.choose(NUMBERS[counts[kind]])]
        if len(colours) == 1 and self.chance(0.7):
            words.append(self.choose(COLOURS[colours.pop()][1]))
        return " ".join([*words, self.noun(kind, plural=True)])


def relation(first: SceneObject, second: SceneObject) -> str:
    """Where ``first`` is, seen from ``second``: a key of ``RELATIONS``."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = first.box, second.box
    if first.depth > second.depth and min(x2, u2) > max(x1, u1) and min(y2, v2) > max(y1, v1):
        return "front"
    dx, dy = first.centre[0] - second.centre[0], first.centre[1] - second.centre[1]
    if abs(dx) < 50 and abs(dy) < 50:
        return "near"
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def _single(speaker: Speaker) -> str:
    phrase = speaker.phrase(speaker.some(1)[0])
    opening = speaker.choose(("there is ", "this is ", "a picture of ", ""))
    return f"{opening}{phrase} {speaker.place()}"


def _related(speaker: Speaker) -> str:
    pair = speaker.some(2)
    if len(pair) < 2:
        return _single(speaker)
    first, second = pair
    where = speaker.choose(RELATIONS[relation(first, second)])
    verb = speaker.choose(("is ", "lies ", "can be seen ", ""))
    text = f"{speaker.phrase(first)} {verb}{where} {speaker.phrase(second)}"
    return text + speaker.maybe_place()


def _listed(speaker: Speaker) -> str:
    phrases = [speaker.phrase(thing) for thing in speaker.some(3)]
    if len(phrases) == 1:
        return _single(speaker)
    text = ", ".join(phrases[:-1]) + f" and {phrases[-1]}"
    opening = speaker.choose(("there are ", "we see ", "", ""))
    return f"{opening}{text}{speaker.maybe_place()}"


def _counted(speaker: Speaker) -> str:
    group = speaker.group()
    if group is None:
        return _listed(speaker)
    opening = speaker.choose(("there are ", "a picture of ", ""))
    return f"{opening}{group}{speaker.maybe_place()}"


def _placed(speaker: Speaker) -> str:
    phrases = [speaker.phrase(thing) for thing in speaker.some(2)]
    verb = speaker.choose(("there is", "we see", "one can spot"))
    return f"{speaker.place()} {verb} {' and '.join(phrases)}"


# One of each a scene; the order in the file is shuffled.
PATTERNS: tuple[Callable[[Speaker], str], ...] = (_single, _related, _listed, _counted, _placed)


def describe(
    rng: np.random.Generator, *, objects: Sequence[SceneObject], background: str
) -> tuple[str, ...]:
    """Five lower-case sentences without a full stop about a scene of one object or more."""
    speaker = Speaker(rng, objects=objects, background=background)
    sentences = [pattern(speaker) for pattern in PATTERNS]
    return tuple(sentences[i] for i in rng.permutation(CAPTIONS_PER_SCENE))
