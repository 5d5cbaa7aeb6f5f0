"""The words of the scenes: what can be drawn, and how people may call it.

The names that the detector learns (``KINDS``) and the nouns of the captions are kept apart on
purpose: a caption says "automobile" where the detector says "car", so that a model has to learn
the translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# kind -> (singular, plural) nouns, the kind's own name first.
NOUNS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "ball": (("ball", "balls"), ("sphere", "spheres"), ("globe", "globes")),
        "boat": (("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")),
        "box": (("box", "boxes"), ("crate", "crates"), ("cube", "cubes")),
        "car": (("car", "cars"), ("automobile", "automobiles"), ("vehicle", "vehicles")),
        "cup": (("cup", "cups"), ("mug", "mugs")),
        "fish": (("fish", "fishes"), ("goldfish", "goldfishes")),
        "flower": (("flower", "flowers"), ("blossom", "blossoms"), ("daisy", "daisies")),
        "house": (("house", "houses"), ("cottage", "cottages"), ("home", "homes")),
        "kite": (("kite", "kites"),),
        "ladder": (("ladder", "ladders"), ("stepladder", "stepladders")),
        "star": (("star", "stars"),),
        "tree": (("tree", "trees"), ("oak", "oaks")),
    }
)
KINDS: tuple[str, ...] = tuple(NOUNS)

# colour -> (RGB, the words for it).
COLOURS: Mapping[str, tuple[tuple[int, int, int], tuple[str, ...]]] = MappingProxyType(
    {
        "red": ((208, 32, 38), ("red", "crimson", "scarlet")),
        "orange": ((244, 134, 24), ("orange", "amber")),
        "yellow": ((246, 218, 44), ("yellow", "golden")),
        "green": ((38, 154, 62), ("green", "emerald")),
        "blue": ((38, 84, 208), ("blue", "azure", "navy")),
        "purple": ((134, 48, 168), ("purple", "violet")),
        "white": ((240, 240, 238), ("white", "pale")),
        "black": ((32, 32, 36), ("black", "dark")),
    }
)

SIZES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "small": ("small", "tiny", "little"),
        "medium": ("medium-sized", "average"),
        "large": ("large", "big", "huge"),
    }
)

# background -> phrases that follow an object ("a ball on the grass").
BACKGROUNDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "grass": ("on the grass", "on a lawn", "in a green meadow"),
        "sand": ("on the sand", "on a beach", "in the desert"),
        "water": ("on the water", "in the sea", "on a lake"),
        "night": ("under the night sky", "at night", "in the dark of midnight"),
        "brick": ("before a brick wall", "in front of bricks", "by a wall"),
        "wood": ("on a wooden floor", "on wooden planks", "on a table of wood"),
        "snow": ("in the snow", "on a snowy field", "in winter"),
        "sky": ("in the sky", "among clouds", "under a cloudy sky"),
    }
)

NUMBERS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {2: ("two", "a pair of", "a couple of"), 3: ("three", "several", "some")}
)

RELATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "left": ("left of", "to the left of", "on the left side of"),
        "right": ("right of", "to the right of", "on the right side of"),
        "above": ("above", "over", "higher than"),
        "below": ("below", "under", "beneath"),
        "near": ("next to", "beside", "near", "close to"),
        "front": ("in front of", "partly covering", "overlapping"),
    }
)
