"""The families of backbones there are, by the names they answer to; loaded when they are used.

A further family is a module with a function ``load(config) -> Loaded`` and, if it needs weights,
``check(backbone, state, *, where)``, which raises WeightsError for tensors of others; and a line
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

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
        known: names of its backbones; if there are any, ``name`` is what they begin with.
    """

    name: str
    module: str
    needs_weights: bool = True
    bounded: bool = False
    known: tuple[str, ...] = ()

    def load(self, config: FeatureSettings) -> Loaded:
        """The network that the settings describe. Raises ConfigError, WeightsError."""
        return self._module.load(config)

    def check(self, backbone: str, state: Mapping[str, Any], *, where: str) -> None:
        """Raise WeightsError, naming the file ``where``, unless its tensors are this backbone's."""
        self._module.check(backbone, state, where=where)

    def answers(self, word: str) -> bool:
        """Whether a backbone of this name is one of them."""
        return word.startswith(self.name) if self.known else self.name in (word, "")

    @property
    def _module(self) -> Any:
        return import_module(f"fedpatchcore.features.backbones.{self.module}")


FAMILIES = (
    Family("filterbank", "filterbank", needs_weights=False, bounded=True),
    Family(
        "efficientnet_lite",
        "efficientnet_lite",
        known=("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    ),
    Family("vit_", "vit", known=("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")),
    Family(
        "dinov2_",
        "vit",
        known=tuple(f"dinov2_vit{one}14{reg}" for reg in ("", "_reg") for one in "sbl"),
    ),
    Family("timm:", "timm_features", known=("timm:NAME",)),
    Family("", "torchvision_cnn"),
)


def family_of(backbone: str) -> Family:
    """The family that answers to a backbone's name."""
    word = backbone.partition("/")[0]
    return next(one for one in FAMILIES if one.answers(word))
