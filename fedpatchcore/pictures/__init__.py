"""Heatmaps: what is shown of a verdict, on a colour scale in score units."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cases": ["KINDS", "file_stem", "read_cases", "save_cases", "save_prediction"],
        "figures": ["colour", "overlay", "png"],
        "front": ["front_picture"],
        "labels": ["Labels"],
        "pod": ["pod_picture"],
        "scale": ["MOST", "Scale"],
        "settings": ["PictureSettings"],
        "suspects": ["save_suspects"],
    },
)
