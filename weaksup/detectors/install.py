"""How to get the detectors that pip does not bring along. docs/detectors.md says the same."""

DETECTRON2 = (
    "python -m pip install 'setuptools<81'\n"
    "python -m pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2'"
)
