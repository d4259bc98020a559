"""Settings of generators, of memories of averages, and of students."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedpatchcore.settings import Settings, setting

__all__ = ["MemorySettings"]


class MemorySettings(Settings):
    """How a generator brings normal patches close to their memory, and what a student reads."""

    title: ClassVar[str] = "Generator, dynamic memory, student (docs/methods.md)"

    generator_width: int = setting(
        0, "features that the generator makes of a patch; 0: half as many as the backbone's", ge=0
    )
    generator_neighbours: int = setting(
        3, "memory rows that pull a patch, and as many that push it", ge=1, le=100
    )
    generator_margin: float = setting(
        0.1, "how much farther than the radius the pushing rows are kept", ge=0, le=10
    )
    generator_radius: float = setting(
        0.5, "quantile of the distances at the start that makes the radius", gt=0, le=1
    )
    generators: Literal["averaged", "own"] = setting(
        "averaged", "feddymem: one generator for all, or each site's own, which never leaves it"
    )
    student_reads: int = setting(
        0,
        "student: channels of a patch that it reads, the first layer's; 0: a third, which is the "
        "first of two layers where channels double",
        ge=0,
    )
    student_width: int = setting(128, "student: channels between its layers", ge=1, le=4096)
    reduce_temperature: float = setting(
        0.1, "feddymem: how softly patches are shared out before they are averaged", ge=0, le=100
    )
