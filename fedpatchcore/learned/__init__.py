"""What is learned beyond picking patches: memories of averages, generators, students.

Pure arithmetic on patch features; when and with whom is for `fedpatchcore.site` and
`fedpatchcore.server` to say.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "generator": ["GeneratorObjective"],
        "memory": ["Memory", "global_memory", "reduce_memory"],
        "student": ["StudentObjective", "student_scores"],
    },
)
