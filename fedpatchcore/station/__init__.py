"""The station: one process at a site in which a part on a line is judged, every day.

Images come in by a folder or by HTTP, verdicts go out, people say whether they were right. Nothing
of an image leaves the machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "asking": ["results_of", "state_of"],
        "demo": ["Line", "training_copy"],
        "place": ["Place"],
        "running": ["run_station"],
        "settings": ["StationSettings", "read_station_file", "station_file"],
        "station": ["Station"],
        "told": ["COLUMNS"],
        "units": ["StationUnits"],
    },
)
