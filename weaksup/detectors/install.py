"""How to get the detectors that pip does not bring along. docs/detectron2.md says the same."""

DETECTRON2 = (
    "python -m pip install 'setuptools<81' wheel\n"
    "python -m pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2'"
)
