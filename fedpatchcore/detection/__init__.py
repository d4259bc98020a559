"""A bank and a picture: distances, image score, anomaly map, threshold, verdict.

`PatchCore` is the whole of it on one machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "calibration": ["Threshold", "calibrate", "hold_out"],
        "detector": ["PatchCore", "config_of"],
        "fitting": ["bank_rows", "bank_scorer"],
        "folds": ["fold_numbers", "out_of_fold", "scored"],
        "judging": ["Prediction"],
        "mosaic": ["Mosaic"],
        "regions": ["find_regions"],
        "scale": ["Scale", "Together"],
        "scoring": ["PatchScores", "Scorer", "flat"],
        "search": ["NearestNeighbours"],
        "settings": ["DetectionSettings", "DetectorSettings"],
        "smoothing": ["map_of"],
        "student": [
            "WIDTH",
            "flattened",
            "maps_of",
            "parts_of",
            "squares",
            "student_shapes",
            "unflattened",
        ],
        "suspects": ["Suspect", "least_explained"],
        "telling": ["named_suspects", "rests_on"],
        "unlike": ["unlike_rest"],
        "view": ["View", "clipped", "waved"],
        "which": ["serving"],
    },
)
