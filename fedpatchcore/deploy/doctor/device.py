"""The check of where a site computes."""

from __future__ import annotations

from fedpatchcore.deploy.doctor.checks import Check, fail, ok, warn
from fedpatchcore.spelling import typed

__all__ = ["gpu"]


def gpu(device: str, precision: str = "float32") -> Check:
    """Where ``device`` means that work is done, and by what; whether that is there.

    Args:
        precision: of the network.
    """
    import torch  # a node that only watches the way to the server holds none of this in memory

    from fedpatchcore.detection.which import serving
    from fedpatchcore.devices.choice import every_device
    from fedpatchcore.devices.halves import slow_half

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and device not in ("auto", "cpu"):
        return fail(
            f"'{device}' is asked for, but torch sees no GPU",
            "check the driver with 'nvidia-smi' and that torch is a CUDA build (torch "
            f"{torch.__version__}), or {typed('device', 'auto')}",
        )
    used = every_device(device)
    names = ", ".join(torch.cuda.get_device_name(at) for at in range(count))
    if used[0].type == "cpu":
        seen = (
            f"{names}; not used, since" if count else "none seen by torch: work is done on the CPU;"
        )
        if slow := slow_half(precision):
            return warn(
                f"{seen} device='{device}'; {slow}",
                f"use a GPU, or {typed('precision', 'float32')} at every site",
            )
        half = f", {precision}" if precision != "float32" else ""
        return ok(f"{seen} device='{device}'{half}")
    where = ", ".join(map(str, used))
    return ok(
        f"{names}; features ({precision}) on {where}, selections and searches on {used[0]}, "
        f"searches by {serving(used[0])}"
    )
