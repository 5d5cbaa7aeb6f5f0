"""Hugging Face's detectors by their names on the hub, and from folders.

Weights are read from safetensors alone, and no code that comes with a model is run. A named model
is brought to a folder first and read from there, so that reading never waits for a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weaksup.detectors.torch_device import resolve_device, resolve_precision
from weaksup.errors import DataError, MissingDependencyError, UsageError, did_you_mean
from weaksup.files import sha256
from weaksup.wording import counted

if TYPE_CHECKING:
    from weaksup.detectors.transformers import TransformersDetector
    from weaksup.detectors.transformers_networks import Network

DEFAULT_MODEL = "PekingU/rtdetr_r50vd"
INSTALL = "python -m pip install 'weaksup[transformers]', or 'transformers>=5.24'"

# The values of `model_type` in config.json.
SOFTMAX = "detr"
DECODERS = (
    SOFTMAX,
    "conditional_detr",
    "deformable_detr",
    "rt_detr",
    "rt_detr_v2",
    "d_fine",
)
GROUNDING = ("grounding-dino", "mm-grounding-dino")
SQUARE_PATCHES = "owlv2"
PATCHES = ("owlvit", SQUARE_PATCHES)
OPEN = GROUNDING + PATCHES
KINDS = DECODERS + OPEN

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPARATION = ("preprocessor_config.json", "processor_config.json")
TOKENS = ("tokenizer.json", "vocab.json", "vocab.txt")
FILES = ("*.json", "*.txt", "model*.safetensors")
PATIENCE_S = 10
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_UNNAMED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class _Source:
    """Where a model comes from.

    Attributes:
        name: of the folder or on the hub.
        folder: with all its files.
        kind: one of ``KINDS``.
        weights: the files with its tensors.
    """

    name: str
    folder: Path
    kind: str
    weights: tuple[Path, ...]


def load_transformers_detector(
    weights: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    with_features: bool = True,
    score_threshold: float = 0.2,
    min_regions: int = 10,
    max_regions: int = 36,
    device: str = "auto",
    precision: str = "auto",
) -> TransformersDetector:
    """A detector by its name on the hub or from a folder.

    Args:
        weights: ``OWNER/NAME`` on the hub, a folder that ``save_pretrained`` wrote, or None for
            ``DEFAULT_MODEL``.
        labels: names of the classes, where the model has none of its own or bad ones; for a model
            with an open vocabulary, what to look for.
        concepts: what a model with an open vocabulary looks for where no labels are given.

    The other arguments are those of ``TransformersDetector``.

    Raises:
        UsageError: if ``weights`` is neither, for another kind of model, or where names are
            missing.
        DataError: if files are missing, damaged, or do not fit one another.
        MissingDependencyError: without the package, or without a named model that cannot be
            fetched.
    """
    check_package()
    from weaksup.detectors.transformers import TransformersDetector

    place = resolve_device(device)
    source = _find(weights or DEFAULT_MODEL)
    names = _prompts(source, labels, concepts) if source.kind in OPEN else labels
    with _quiet():
        network = _network(source, names, with_features=with_features, device=place)
    return TransformersDetector(
        network=network,
        name=f"transformers:{source.name}",
        weights_sha256=together(source.weights),
        settings={
            "kind": source.kind,
            "config_sha256": config_sha256(source.folder),
            # The user's own, which nothing of the model's has.
            **({} if names is None else {"labels": list(names)}),
        },
        device=place,
        dtype=resolve_precision(precision, device=place),
        score_threshold=score_threshold,
        min_regions=min_regions,
        max_regions=max_regions,
    )


def check_package() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependencyError("transformers is not installed", INSTALL)
    try:
        from transformers import AutoModelForObjectDetection  # noqa: F401
    except (ImportError, RuntimeError) as error:  # it wraps what goes wrong in its lazy imports
        raise MissingDependencyError(
            f"transformers is installed, but cannot be imported: {_reason(error)}", INSTALL
        ) from error


def _find(text: str) -> _Source:
    """From a name or a folder to the files of a model of a known kind."""
    path = Path(text).expanduser()
    if path.is_dir():
        name, folder = path.resolve().name, path
    elif path.exists() or not HUB_NAME.fullmatch(text):
        raise UsageError(
            f"'{text}' is neither a folder nor a name of a model on Hugging Face's hub",
            f"names are OWNER/NAME, such as {DEFAULT_MODEL}; a folder is one that save_pretrained "
            "wrote",
        )
    else:
        name, folder = text, from_hub(text)
    kind = _kind(folder, name)
    if not _has_one_of(folder, PREPARATION):
        raise DataError(
            f"{folder} does not say how pictures are prepared: it has no {PREPARATION[0]}",
            "write it with the image processor's save_pretrained(FOLDER)",
        )
    if kind in OPEN and not _has_one_of(folder, TOKENS):
        # The package would make a tokenizer that knows no word.
        raise DataError(
            f"{folder} does not say how texts are read: it has no {TOKENS[0]}",
            "write it with the tokenizer's save_pretrained(FOLDER)",
        )
    return _Source(name=name, folder=folder, kind=kind, weights=weights_files(folder))


def _kind(folder: Path, name: str) -> str:
    config = _read_json(folder / CONFIG)
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        nearest = did_you_mean(kind, KINDS)
        raise UsageError(
            f"{name} is of the kind '{kind}', which is not supported"
            + (f": {nearest}" if nearest else ""),
            f"kinds that are: {', '.join(KINDS)}",
        )
    if config.get("use_focal_loss") is False:
        raise UsageError(
            f"{name} was trained without the focal loss (`use_focal_loss` in {CONFIG}), which is "
            "not supported",
            f"take a model as published, such as {DEFAULT_MODEL}",
        )
    return kind


def weights_files(folder: Path) -> tuple[Path, ...]:
    """The files with the tensors, in the order of their names.

    Raises:
        DataError: if there are none, or not all.
    """
    files = [folder / WEIGHTS]
    if not files[0].is_file() and (folder / INDEX).is_file():
        content = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(content, dict) or not content:
            raise DataError(f"{folder / INDEX} names no files", "fetch or write the folder again")
        files = [folder / name for name in sorted(set(map(str, content.values())))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        raise DataError(
            f"{folder} lacks {', '.join(missing)}"
            + (f"; {pickled[0]} is not opened, for a pickle may run code" if pickled else ""),
            "write the model as safetensors, where its maker is trusted: "
            "model.save_pretrained(FOLDER)",
        )
    return tuple(files)


def from_hub(name: str, *, option: str = "--weights") -> Path:
    """The folder of a named model in Hugging Face's cache, fetched if it is not there.

    Args:
        name: ``OWNER/NAME``.
        option: of the command, which names a folder that is brought from elsewhere.

    Raises:
        MissingDependencyError: if it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(FILES), local_files_only=True))
        if not _lacks(folder):
            return folder
    except OSError:  # nothing of it is there
        pass
    try:
        # It answers at once where there is no network, and else after these seconds.
        folder = Path(snapshot_download(name, allow_patterns=list(FILES), etag_timeout=PATIENCE_S))
    except GatedRepoError as error:
        raise MissingDependencyError(
            f"{name} is fetched only by those who have accepted its terms",
            f"accept them at https://huggingface.co/{name}, then: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"'{name}' is neither a folder nor a model on Hugging Face's hub",
            f"the default is {DEFAULT_MODEL}; names are OWNER/NAME",
        ) from error
    except Exception as error:  # a network fails with the exceptions of whoever reads from it
        raise _not_here(name, _reason(error), option=option) from error
    # Without a network it gives what another program has left in the cache.
    if lacking := _lacks(folder):
        reason = f"{folder} lacks {lacking}, and the hub has not given it"
        raise _not_here(name, reason, option=option)
    return folder


def _not_here(name: str, reason: str, *, option: str) -> MissingDependencyError:
    short = name.split("/")[1]
    return MissingDependencyError(
        f"{name} is not on this machine and cannot be fetched: {reason}",
        f"where there is a network: hf download {name} --local-dir {short}\n"
        f"(the files are at https://huggingface.co/{name}/tree/main; needed are {CONFIG}, "
        f"{PREPARATION[0]}, {WEIGHTS} and, where there are some, the tokenizer's; weights that "
        "are there as pickles alone are not opened)\n"
        f"then bring the folder here and name it: {option} {short}",
    )


def _lacks(folder: Path) -> str:
    """What is not in a folder of the cache, which may be another program's; empty if all is."""
    if not (folder / CONFIG).is_file():
        return CONFIG
    parts: list[tuple[str, ...]] = [PREPARATION, (WEIGHTS, INDEX)]
    if _read_json(folder / CONFIG).get("model_type") in OPEN:
        parts.append(TOKENS)
    return next((names[0] for names in parts if not _has_one_of(folder, names)), "")


def _has_one_of(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)


def _prompts(
    source: _Source, labels: Sequence[str] | None, concepts: Sequence[str] | None
) -> tuple[str, ...]:
    names = labels if labels is not None else concepts
    if not names:
        raise UsageError(
            f"{source.name} finds what it is asked for, and was not told what",
            "name it with --concepts FILE, one thing a line, or with --labels FILE",
        )
    # A name that is there twice would share its regions between its rows.
    return tuple(dict.fromkeys(names))


def _network(
    source: _Source, names: Sequence[str] | None, *, with_features: bool, device: Any
) -> Network:
    from weaksup.detectors.transformers_networks import (
        GroundingNetwork,
        PatchNetwork,
        QueryNetwork,
    )

    model = _load_model(source).to(device)
    parts = {
        "model": model,
        "processor": _load_part(source, "AutoImageProcessor"),
        "with_features": with_features,
    }
    if source.kind in DECODERS:
        classes = _classes(source, model.config, names)
        return QueryNetwork(**parts, labels=classes, softmax=source.kind == SOFTMAX)
    parts.update(tokenizer=_load_part(source, "AutoTokenizer"), names=names)
    if source.kind in GROUNDING:
        return GroundingNetwork(**parts)
    return PatchNetwork(**parts, square=source.kind == SQUARE_PATCHES)


def _classes(source: _Source, config: Any, labels: Sequence[str] | None) -> tuple[str, ...]:
    count = int(config.num_labels)
    if labels is not None:
        if len(labels) != count:
            raise DataError(
                f"{counted(len(labels), 'label')} for {source.name}, which has "
                f"{counted(count, 'class', 'classes')}",
                "name every class, in the order of the network's; N/A where one names nothing",
            )
        return tuple(labels)
    own = tuple(str(config.id2label[row]) for row in range(count))
    if all(_UNNAMED.fullmatch(name) for name in own):
        raise UsageError(
            f"{source.name} does not name its {counted(count, 'class', 'classes')}",
            "name them with --labels FILE, one a line in the network's order",
        )
    return own


def _load_model(source: _Source) -> Any:
    import transformers

    kind = "ZeroShotObjectDetection" if source.kind in OPEN else "ObjectDetection"
    reader = getattr(transformers, f"AutoModelFor{kind}")
    try:
        model, report = reader.from_pretrained(
            source.folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ImportError as error:  # a backbone of another package
        raise MissingDependencyError(
            f"{source.name} needs a package that is not installed: {_reason(error)}",
            "python -m pip install timm",
        ) from error
    except Exception as error:  # files that do not fit stop it anywhere, with any exception
        raise DataError(
            f"no model can be read from {source.folder}: {_reason(error)}",
            f"fetch or write it again; its kind, '{source.kind}', may also need a newer "
            "transformers than is installed",
        ) from error
    # Without complaint, it would go on with random numbers in their place.
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(
            f"the weights in {source.folder} lack {len(missing)} tensors of the model: "
            + ", ".join(missing[:8])
            + (", ..." if len(missing) > 8 else ""),
            "fetch or write the folder again",
        )
    return model.eval().requires_grad_(False)


def _load_part(source: _Source, reader: str) -> Any:
    import transformers

    try:
        return getattr(transformers, reader).from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
    except ImportError as error:
        raise MissingDependencyError(
            f"{source.name} needs a package that is not installed: {_reason(error)}"
        ) from error
    except Exception as error:  # likewise
        what = "image processor" if reader == "AutoImageProcessor" else "tokenizer"
        raise DataError(
            f"no {what} can be read from {source.folder}: {_reason(error)}",
            f"write it with the {what}'s save_pretrained(FOLDER)",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package from telling what no user can mend: what matters is checked here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def together(files: Sequence[Path]) -> str:
    """The sha256 of one file, or of the sha256s of several."""
    digests = [sha256(path) for path in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def config_sha256(folder: Path) -> str:
    """Of what changes a result beside the weights: the model's shape and the preparation."""
    names = (CONFIG, *PREPARATION, "tokenizer.json")
    return together([folder / name for name in names if (folder / name).is_file()])


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent} is no folder of a model: it has no {path.name}",
            "name one that save_pretrained wrote",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object")
    return content


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
