"""Generated pictures of simple objects, with captions: the data of the demo.

Pictures, boxes and sentences are made here and need no download. ``train_demo_detector`` trains
the packaged detector on them; ``weaksup demo`` runs the whole job on fresh ones, and
``python -m pipelines.scenes DIR`` lays them out as somebody's own photographs.
"""

from pipelines.scenes.scene import FORMATS, generate_scene
from pipelines.scenes.types import Scene, SceneObject
from pipelines.scenes.words import COLOURS, KINDS
from pipelines.scenes.write import write_folder, write_scenes

__all__ = [
    "COLOURS",
    "FORMATS",
    "KINDS",
    "Scene",
    "SceneObject",
    "generate_scene",
    "write_folder",
    "write_scenes",
]
