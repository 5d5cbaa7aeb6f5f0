"""Detectron2 models by their names in its model zoo, and from a configuration with weights.

Neither a configuration nor a weights file can run code: YAML is read without Python's tags, and
pickles as plain arrays. Detectron2 is imported when it is asked for, since it is optional.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor, nn

from weaksup.detectors import attribute_head
from weaksup.detectors.array_pickle import read_arrays
from weaksup.detectors.config_and_file import SUFFIXES, split_weights
from weaksup.detectors.fetch import fetch
from weaksup.detectors.install import DETECTRON2
from weaksup.detectors.torchvision_weights import COUNTER, read_state
from weaksup.errors import DataError, MissingDependencyError, UsageError, did_you_mean
from weaksup.files import require_file, sha256
from weaksup.wording import counted

if TYPE_CHECKING:
    from weaksup.detectors.detectron2_model import Detectron2Detector

DEFAULT_MODEL = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
# Heads that find attributes, too, are these with one more part (attribute_head.py).
ROI_HEADS = {
    "StandardROIHeads": "StandardROIHeads",
    "Res5ROIHeads": "Res5ROIHeads",
    "AttributeStandardROIHeads": "StandardROIHeads",
    "AttributeRes5ROIHeads": "Res5ROIHeads",
}
# In published files, but not in the model that is built here: heads that find no boxes, and what
# follows from the configuration.
LEFT_OUT = re.compile(r"roi_heads\.(mask|keypoint)_.*|.*anchor_generator\.cell_anchors.*|pixel_.*")


@dataclass(frozen=True)
class _Source:
    """Where a model comes from.

    Attributes:
        name: of the configuration, without its suffix.
        config: the ``CfgNode``.
        weights: the file.
        published: whether the weights are the model zoo's own.
    """

    name: str
    config: Any
    weights: Path
    published: bool

    @property
    def attributes(self) -> int:
        """The classes of the attribute head; 0 without one."""
        head = self.config.MODEL.get("ROI_ATTRIBUTE_HEAD")
        return int(head.NUM_CLASSES) if head is not None else 0


def load_detectron2_detector(
    weights: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    attribute_labels: Sequence[str] | None = None,
    with_features: bool = True,
    score_threshold: float = 0.2,
    min_regions: int = 10,
    max_regions: int = 36,
    device: str = "auto",
    precision: str = "auto",
) -> Detectron2Detector:
    """A detector by its name in the model zoo or from files.

    Args:
        weights: ``CONFIG`` or ``CONFIG,FILE``; None for ``DEFAULT_MODEL``. ``CONFIG`` is a name
            of the model zoo or a YAML file. Without ``FILE``, the weights are those that the zoo
            publishes, or those that the YAML file names as ``MODEL.WEIGHTS``, relative to itself.
            ``FILE`` is ``.safetensors``, ``.pkl`` with nothing but arrays, or anything that
            ``torch.load(weights_only=True)`` reads.
        labels: names of the classes; by default those of the configuration's test data, where
            detectron2 knows them.
        attribute_labels: names of the attribute head's classes, where there is such a head.

    The other arguments are those of ``Detectron2Detector``.

    Raises:
        UsageError: for an unknown name, another kind of model, or missing labels.
        DataError: if a file is damaged, or the weights do not fit the configuration.
        MissingDependencyError: without detectron2, or without the zoo's weights where they cannot
            be fetched.
    """
    import_detectron2()
    from weaksup.detectors.detectron2_model import Detectron2Detector

    source = _find(weights or DEFAULT_MODEL)
    _check_kind(source)
    return Detectron2Detector(
        labels=_labels(source, labels),
        attribute_labels=_attribute_labels(source, attribute_labels),
        model=_load_model(source),
        name=f"detectron2:{source.name}",
        weights_sha256=sha256(source.weights),
        config_sha256=config_sha256(source.config),
        min_side=source.config.INPUT.MIN_SIZE_TEST,
        max_side=source.config.INPUT.MAX_SIZE_TEST,
        settings=_given(labels=labels, attribute_labels=attribute_labels),
        with_features=with_features,
        score_threshold=score_threshold,
        min_regions=min_regions,
        max_regions=max_regions,
        device=device,
        precision=precision,
    )


def _given(**names: Sequence[str] | None) -> dict[str, list[str]]:
    """The names that are the user's own: nothing of the model's has them."""
    return {key: list(value) for key, value in names.items() if value is not None}


def zoo_names() -> list[str]:
    """The configurations that detectron2 brings along, which can be named with weights."""
    folder = _zoo_folder()
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.yaml"))


def import_detectron2() -> None:
    if importlib.util.find_spec("detectron2") is None:
        raise MissingDependencyError("detectron2 is not installed", DETECTRON2)
    try:
        with warnings.catch_warnings():
            # It warns of its own use of pkg_resources and torch.jit, which no user can mend.
            warnings.simplefilter("ignore")
            import detectron2.model_zoo
            import detectron2.modeling  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"detectron2 is installed, but cannot be imported: {error}", DETECTRON2
        ) from error


def _zoo_folder() -> Path:
    import detectron2.model_zoo

    return Path(detectron2.model_zoo.__file__).parent / "configs"


def _find(text: str) -> _Source:
    """From ``CONFIG`` or ``CONFIG,FILE`` to the configuration and an existing weights file."""
    name, weights = split_weights(text)
    known = zoo_names()
    published = name in known
    path = _zoo_folder() / name if published else Path(name)
    if path.suffix not in SUFFIXES or not path.is_file():
        nearest = did_you_mean(name, known)
        raise UsageError(
            f"'{name}' is neither a model of detectron2's zoo nor a YAML file"
            + (f": {nearest}" if nearest else ""),
            f"the default is {DEFAULT_MODEL}; your own: --weights CONFIG.yaml,WEIGHTS.pth",
        )
    config = read_config(path, trusted=published)
    name = str(Path(name).with_suffix("")) if published else path.stem
    if weights is not None:
        file = Path(weights)
        require_file(file, "weights file")
        return _Source(name=name, config=config, weights=file, published=False)
    if published:
        return _Source(name=name, config=config, weights=published_weights(name), published=True)
    return _Source(
        name=name, config=config, weights=weights_named_in(config, path), published=False
    )


def read_config(path: Path, *, trusted: bool) -> Any:
    """Read a configuration; ``trusted`` where it is a part of the installed package."""
    from detectron2.config import get_cfg

    config = get_cfg()
    attribute_head.add_keys(config)
    try:
        # Detectron2's own default is True: a user's configuration could then run any code.
        config.merge_from_file(str(path), allow_unsafe=trusted)
    except Exception as error:  # bad YAML or an unknown key stops it anywhere, with any exception
        raise DataError(
            f"{path} cannot be read as a configuration of detectron2: {_reason(error)}",
            "python tags (!!python/...) are not read, for they may run code",
        ) from error
    attribute_head.remove_keys(config)
    # Masks and keypoints are found in boxes that are known already.
    config.MODEL.MASK_ON = False
    config.MODEL.KEYPOINT_ON = False
    config.MODEL.DEVICE = "cpu"
    return config


def published_weights(name: str) -> Path:
    """The zoo's weights in detectron2's own cache, fetched if they are not there."""
    from detectron2.model_zoo import get_checkpoint_url
    from iopath.common.file_io import get_cache_dir

    try:
        url: str = get_checkpoint_url(f"{name}.yaml")
    except RuntimeError:
        raise UsageError(
            f"the model zoo has a configuration '{name}.yaml', but no weights for it",
            f"name your own: --weights {name}.yaml,WEIGHTS.pth",
        ) from None
    path = Path(get_cache_dir()) / urlparse(url).path.lstrip("/")
    if not path.is_file():
        try:
            fetch(url, path)
        except OSError as error:
            raise MissingDependencyError(
                f"the weights of {name} are not on this machine and cannot be fetched: {error}",
                f"fetch {url}\nand put it at {path}",
            ) from error
    return path


def weights_named_in(config: Any, path: Path) -> Path:
    named = str(config.MODEL.WEIGHTS)
    if not named or "://" in named:
        raise UsageError(
            f"{path} names no weights file: its MODEL.WEIGHTS is '{named}'",
            f"name one: --weights {path},WEIGHTS.pth",
        )
    file = path.parent / named
    if not file.is_file():
        raise DataError(
            f"the weights file {file}, which {path} names, does not exist",
            f"name another: --weights {path},WEIGHTS.pth",
        )
    return file


def _check_kind(source: _Source) -> None:
    model = source.config.MODEL
    kind = (model.META_ARCHITECTURE, model.PROPOSAL_GENERATOR.NAME, model.ROI_HEADS.NAME)
    if kind[:2] != ("GeneralizedRCNN", "RPN") or kind[2] not in ROI_HEADS:
        raise UsageError(
            f"{source.name} is {kind[0]} with {kind[1]} and {kind[2]}, which is not supported",
            "models that are: Faster, Mask and Keypoint R-CNN, GeneralizedRCNN with RPN and "
            + " or ".join(ROI_HEADS),
        )


def _labels(source: _Source, labels: Sequence[str] | None) -> tuple[str, ...]:
    from detectron2.data import MetadataCatalog

    classes = source.config.MODEL.ROI_HEADS.NUM_CLASSES
    if labels is not None:
        if source.published:
            raise UsageError(
                f"labels were given for '{source.name}', which has its own",
                "leave --labels out, or name your own weights file",
            )
        if len(labels) != classes:
            raise DataError(
                f"{counted(len(labels), 'label')} for {source.name}, which has "
                f"{counted(classes, 'class', 'classes')}",
                "name every class, without the background, in the order of the training data",
            )
        return tuple(labels)
    for dataset in source.config.DATASETS.TEST:
        names = MetadataCatalog.get(dataset).get("thing_classes") or ()
        if len(names) == classes:
            return tuple(names)
    raise UsageError(
        f"{source.name} does not say what its {counted(classes, 'class is', 'classes are')} called",
        "name them with --labels FILE, one a line in the order of the training data",
    )


def _attribute_labels(source: _Source, labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is None and source.attributes:
        raise UsageError(
            f"{source.name} does not say what its {counted(source.attributes, 'attribute')} are "
            "called",
            "name them with --attribute-labels FILE, one a line in the order of the training data",
        )
    if labels is not None and not source.attributes:
        raise UsageError(
            f"attribute names were given for {source.name}, which has no attribute head",
            "leave --attribute-labels out: regions get words for colour, size and position",
        )
    if labels is not None and len(labels) != source.attributes:
        raise DataError(
            f"{counted(len(labels), 'attribute name')} for {source.name}, which has "
            f"{counted(source.attributes, 'attribute')}",
            "name every attribute in the order of the training data",
        )
    return tuple(labels or ())


def _build(source: _Source) -> nn.Module:
    from detectron2.modeling import build_model

    config = source.config.clone()
    config.MODEL.ROI_HEADS.NAME = ROI_HEADS[config.MODEL.ROI_HEADS.NAME]
    if config.MODEL.ROI_BOX_HEAD.NAME == "AttributeFastRCNNConvFCHead":
        # The same layers; theirs returns what the last but one gives, too.
        config.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model: Any = build_model(config)
    if source.attributes:
        width = model.roi_heads.box_predictor.cls_score.in_features
        model.roi_heads.attribute_predictor = attribute_head.build(config, feature_size=width)
    return model  # type: ignore[no-any-return]


def _load_model(source: _Source) -> nn.Module:
    try:
        model = _build(source)
    except Exception as error:  # parts, sizes and names that do not go together, found anywhere
        raise DataError(
            f"no model can be built from the configuration {source.name}: {_reason(error)}"
        ) from error
    state = {key: value for key, value in _state(source.weights).items() if not _ignored(key)}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        # One tensor a line, under a heading.
        differences = [line.strip() for line in str(error).splitlines()[1:]]
    else:
        differences = [f"missing {key}" for key in missing if COUNTER not in key]
        differences += [f"unexpected {key}" for key in unexpected]
    if differences:
        raise DataError(
            f"{source.weights} does not fit the configuration {source.name}; "
            f"{len(differences)} tensors differ: "
            + "; ".join(differences[:8])
            + ("; ..." if len(differences) > 8 else ""),
            "name the configuration that the weights were trained with",
        )
    return model


def _ignored(key: str) -> bool:
    return COUNTER in key or LEFT_OUT.fullmatch(key) is not None


def _state(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".pkl":
        return read_state(path)
    content = read_arrays(path)
    arrays = content.get("model", content)
    if not isinstance(arrays, dict) or not all(
        isinstance(value, np.ndarray) for value in arrays.values()
    ):
        raise DataError(f"{path} holds no weights: no dict of arrays, by itself or under 'model'")
    return {str(key): torch.from_numpy(value) for key, value in arrays.items()}


def config_sha256(config: Any) -> str:
    """Of what changes a result: the model but not where its weights lie, and the input."""
    model = config.MODEL.clone()
    model.WEIGHTS = ""
    return hashlib.sha256((model.dump() + config.INPUT.dump()).encode()).hexdigest()


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
