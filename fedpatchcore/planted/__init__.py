"""Defects planted into pictures of good parts: kind, size, contrast, exact mask, one seed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["CELLS", "CONTRASTS", "SIZES"],
        "grid": ["Task", "tasks"],
        "planting": ["KINDS", "Planted"],
    },
)
