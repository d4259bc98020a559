"""What is learned beyond picking patches: generators, memories, students, and how they train.

Pure arithmetic on patch features; when and with whom is for `fedpatchcore.site` and
`fedpatchcore.server` to say.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answers": ["Update", "change_of", "check_update", "countable"],
        "arrivals": ["FedAsync", "FedBuff"],
        "audit": ["audit_training"],
        "carried": ["Losses", "MARK", "VALUES", "check_mark", "is_carried", "read_carried"],
        "composing": ["clashes"],
        "generator": ["GeneratorObjective", "MetricLoss", "WEIGHT", "orthogonal"],
        "local": ["LocalResult", "train_locally"],
        "masked": ["numbers_of", "shaped", "step_of"],
        "memory": ["Memory", "global_memory", "reduce_memory"],
        "objective": ["Arrays", "ImageWise", "Objective"],
        "patience": ["Patience"],
        "plan": ["sampled", "seed_of"],
        "private": ["ImageNoise", "train_privately"],
        "registry": ["OPTIMISERS"],
        "rules": [
            "FedNova",
            "Remembered",
            "Rule",
            "Scaffold",
            "control_after",
            "correction",
            "in_order",
        ],
        "settings": ["LearnedSettings", "MemorySettings"],
        "state": ["ClientState", "Kept"],
        "student": ["StudentObjective", "student_start"],
        "updates": ["compress", "decode", "encode", "layout_of"],
    },
)
