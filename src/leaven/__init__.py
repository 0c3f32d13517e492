"""leaven: from a few, weak or noisy labels to labels of known quality and a trained model."""

from leaven.version import __version__

__all__ = ["__version__"]
