"""The families of backbones there are, by the names they answer to; loaded when they are used.

A further family is a module with a function ``load(config) -> Loaded`` and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpatchcore.features.backbones.loaded import Loaded
    from fedpatchcore.features.settings import FeatureSettings

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """Networks that one module builds.

    Attributes:
        name: the backbone it is, or what its backbones' names begin with before a "/"; "" for
            the family of all names that no other answers to.
        module: in this folder.
        needs_weights: whether a file of weights is looked for.
        bounded: whether every value of a feature is bounded by √dimension, the feature's norm too.
    """

    name: str
    module: str
    needs_weights: bool = True
    bounded: bool = False

    def load(self, config: FeatureSettings) -> Loaded:
        """The network that the settings describe. Raises ConfigError, WeightsError."""
        return import_module(f"fedpatchcore.features.backbones.{self.module}").load(config)


FAMILIES = (
    Family("filterbank", "filterbank", needs_weights=False, bounded=True),
    Family("", "torchvision_cnn"),
)


def family_of(backbone: str) -> Family:
    """The family that answers to a backbone's name."""
    word = backbone.partition("/")[0]
    return next(one for one in FAMILIES if one.name in (word, ""))
