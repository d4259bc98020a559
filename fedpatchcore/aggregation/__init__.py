"""Ways to make one bank section out of the coresets of many sites, one module a way.

`registry` names them; `common` says what each takes and gives.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "common": ["Donor", "MergeSettings", "Merged"],
        "memory": ["Memory", "machine_memory"],
        "registry": ["AGGREGATIONS"],
        "settings": ["AggregationSettings"],
    },
)
