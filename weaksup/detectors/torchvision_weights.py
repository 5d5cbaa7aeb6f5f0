"""Torchvision's Faster R-CNN models by name, and from weights files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from weaksup.detectors.fetch import fetch
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.origin import Origin
from weaksup.detectors.torchvision import NAMELESS, TorchvisionDetector
from weaksup.errors import DataError, MissingDependencyError, UsageError, did_you_mean
from weaksup.files import sha256
from weaksup.types import Provenance
from weaksup.wording import counted

DEFAULT_MODEL = "fasterrcnn_resnet50_fpn_v2"
# The 320 variant has the keys of its sibling: a file is taken for the first that fits.
MODELS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
BACKGROUND = "__background__"
CLASS_SCORES = "roi_heads.box_predictor.cls_score.weight"
# Counts training batches; frozen normalisation layers lack it, and inference ignores it.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class TrainedModel:
    """A network with what is known of it.

    Attributes:
        model: a ``torchvision.models.detection.FasterRCNN``.
        labels: the names of its C classes, the background first.
        name: of the weights.
        weights_sha256: of the weights file, in hex.
    """

    model: nn.Module
    labels: tuple[str, ...]
    name: str
    weights_sha256: str


def load_torchvision_detector(
    weights: str | Path | None = None,
    *,
    labels: Sequence[str] | None = None,
    with_features: bool = True,
    score_threshold: float = 0.2,
    min_regions: int = 10,
    max_regions: int = 36,
    device: str = "auto",
    precision: str = "auto",
) -> TorchvisionDetector:
    """A detector by the name of its model or from a file.

    Args:
        weights: one of ``MODELS``, a weights file (see ``model_from_file``), or None for
            ``DEFAULT_MODEL``.
        labels: names of the classes of a file.

    The other arguments are those of ``TorchvisionDetector``.

    Raises:
        UsageError: if ``weights`` is neither a known name nor a file, or labels are missing.
        DataError: if the file is damaged or fits no model.
        MissingDependencyError: if a named model's weights are not here and cannot be fetched.
    """
    trained = _load(str(weights or DEFAULT_MODEL), labels=labels)
    return TorchvisionDetector(
        model=trained.model,
        labels=trained.labels,
        name=f"torchvision:{trained.name}",
        weights_sha256=trained.weights_sha256,
        # No file of the model's has them. The background goes first, named by the user or not.
        settings={} if labels is None else {"labels": list(trained.labels[1:])},
        with_features=with_features,
        score_threshold=score_threshold,
        min_regions=min_regions,
        max_regions=max_regions,
        device=device,
        precision=precision,
    )


def find_origin(provenance: Provenance, known: KnownFiles) -> Origin:
    """What a store's detector of torchvision's was built from.

    Raises:
        MissingDependencyError: if it was a file of the user's own, which is not known.
    """
    name, settings = provenance.detector.partition(":")[2], provenance.settings
    path = known.find(provenance.weights_sha256)
    if path is not None:
        return Origin.of(str(path), settings)
    # Only published weights go without labels; a file of one's own may be called as they are.
    if name not in MODELS or "labels" in settings:
        raise known.missing_weights(provenance)
    return Origin.of(name, settings)


def _load(weights: str, *, labels: Sequence[str] | None) -> TrainedModel:
    if weights in MODELS:
        if labels is not None:
            raise UsageError(
                f"labels were given for '{weights}', which has its own",
                "leave --labels out, or name your own weights file",
            )
        return model_by_name(weights)
    if not Path(weights).is_file():
        nearest = did_you_mean(weights, MODELS)
        raise UsageError(
            f"'{weights}' is neither a torchvision model nor a file"
            + (f": {nearest}" if nearest else ""),
            f"known models: {', '.join(MODELS)}; or a .pth or .safetensors file",
        )
    return model_from_file(Path(weights), labels=labels)


def model_by_name(name: str) -> TrainedModel:
    """A model with the weights that torchvision publishes (COCO, 80 classes).

    Args:
        name: one of ``MODELS``.

    Raises:
        DataError, MissingDependencyError: see ``fetch_published``.
    """
    path, digest = fetch_published(get_model_weights(name).DEFAULT.url)
    return _published(name, read_state(path), digest=digest)


def fetch_published(url: str) -> tuple[Path, str]:
    """A weights file of torchvision's, and its sha256 in hex.

    It is looked for in torchvision's cache, ``$TORCH_HOME/hub/checkpoints``, and fetched if it is
    not there.

    Raises:
        DataError: if the file in the cache is damaged.
        MissingDependencyError: if the file is not there and cannot be fetched.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        _fetch(url, path)
    digest = sha256(path)
    if not digest.startswith(_published_hash(url)):
        raise DataError(
            f"{path} is damaged: its sha256 begins with {digest[:8]}, not as its name says",
            f"delete it, and fetch {url} again",
        )
    return path, digest


def model_from_file(path: Path, *, labels: Sequence[str] | None = None) -> TrainedModel:
    """A model from a local file: a state dict, or a dict with one under ``model``.

    Which of ``MODELS`` it is follows from the tensors' names and shapes; of the two MobileNet
    models, which share both, it is the 320 one if the file's name says "320".

    Args:
        path: ``.safetensors``, or anything that ``torch.load(weights_only=True)`` reads.
        labels: class names in the network's order, with or without the background; may be left out
            for a file that torchvision published, which is known by its sha256.

    Raises:
        UsageError: if labels are needed and missing.
        DataError: if the file is damaged, fits no model, or has another number of classes.
    """
    digest = sha256(path)
    state = read_state(path)
    if labels is None:
        for name in MODELS:
            if digest.startswith(_published_hash(get_model_weights(name).DEFAULT.url)):
                return _published(name, state, digest=digest)
    name = recognise(state, path=path)
    return TrainedModel(
        model=_build(name, state),
        labels=_with_background(labels, classes=len(state[CLASS_SCORES]), path=path),
        name=path.stem,
        weights_sha256=digest,
    )


def recognise(state: Mapping[str, Tensor], *, path: Path) -> str:
    """Which of ``MODELS`` has exactly these tensors.

    Raises:
        DataError: if none has; names the tensors in which the nearest model differs.
    """
    if CLASS_SCORES not in state:
        raise DataError(
            f"{path} is no Faster R-CNN of torchvision: it has no tensor '{CLASS_SCORES}' "
            f"(it has {', '.join(list(state)[:4])}, ...)",
            f"models that can be read: {', '.join(MODELS)}",
        )
    found = {name: tuple(value.shape) for name, value in state.items() if COUNTER not in name}
    differences = {}
    for name in sorted(MODELS, key=lambda name: ("320" in name) != ("320" in path.stem)):
        with torch.device("meta"):
            model = _untrained(name, classes=len(state[CLASS_SCORES]))
        wanted = {
            key: tuple(value.shape)
            for key, value in model.state_dict().items()
            if COUNTER not in key
        }
        differences[name] = sorted(
            key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)
        )
        if not differences[name]:
            return name
    nearest = min(differences, key=lambda name: len(differences[name]))
    listed = differences[nearest]
    raise DataError(
        f"{path} fits no Faster R-CNN of torchvision; against the nearest, {nearest}, "
        f"{len(listed)} tensors are missing, unexpected or of another shape: "
        + ", ".join(listed[:8])
        + (", ..." if len(listed) > 8 else ""),
        f"models that can be read: {', '.join(MODELS)}",
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors from ``.safetensors`` or a torch file, without unpickling objects.

    Raises:
        DataError: if the file is damaged or holds anything else than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file stops its reader anywhere, with any exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{path} cannot be read as weights: {reason}",
            "write it again with torch.save(model.state_dict(), FILE), or as .safetensors; files "
            "with other objects than tensors are not opened, for they may run code",
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise DataError(
            f"{path} holds no state dict", "write it with torch.save(model.state_dict(), FILE)"
        )
    return dict(content)


def _published(name: str, state: dict[str, Tensor], *, digest: str) -> TrainedModel:
    model = _build(name, state)
    if name == "fasterrcnn_resnet50_fpn":
        # These weights were trained before torchvision's frozen normalisation had an epsilon.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    labels = tuple(get_model_weights(name).DEFAULT.meta["categories"])
    return TrainedModel(model=model, labels=labels, name=name, weights_sha256=digest)


def _untrained(name: str, *, classes: int) -> nn.Module:
    model: nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    return model


def _build(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    model = _untrained(name, classes=len(state[CLASS_SCORES]))
    counters = {key: value for key, value in model.state_dict().items() if COUNTER in key}
    model.load_state_dict({**counters, **state})
    return model


def _with_background(labels: Sequence[str] | None, *, classes: int, path: Path) -> tuple[str, ...]:
    if labels is None:
        raise UsageError(
            f"{path} does not name its {counted(classes - 1, 'class', 'classes')}",
            "name them with --labels FILE, one a line in the network's order",
        )
    if len(labels) == classes - 1:
        return (BACKGROUND, *labels)
    if len(labels) == classes and labels[0] in NAMELESS:
        return tuple(labels)
    raise DataError(
        f"{counted(len(labels), 'label')} for {path}, which has "
        f"{counted(classes - 1, 'class', 'classes')} and the background",
        f"give {counted(classes - 1, 'name')}, or {classes} with '{BACKGROUND}' first",
    )


def _published_hash(name: str) -> str:
    """The start of the sha256 that torchvision puts into its files' names."""
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    if match is None:
        raise ValueError(f"no hash in the file name {name}")
    return match[1]


def _fetch(url: str, path: Path) -> None:
    try:
        fetch(url, path, hash_prefix=_published_hash(path.name))
    except (OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f"the weights {path.name} are not on this machine and cannot be fetched: {error}",
            f"fetch {url}\nand put it at {path}",
        ) from error
