"""Ways to make one bank section out of the coresets of many sites, by run-config name."""

from collections.abc import Callable, Mapping, Sequence

from fedpatchcore.aggregation.common import Donor, Merged, Settings
from fedpatchcore.aggregation.coordinate_median import coordinate_median
from fedpatchcore.aggregation.diversity_preserving import diversity_preserving
from fedpatchcore.aggregation.federated_coreset import federated_coreset
from fedpatchcore.aggregation.geometric_median import geometric_median
from fedpatchcore.aggregation.simple_concatenate import simple_concatenate
from fedpatchcore.aggregation.site_vote import site_vote

__all__ = ["AGGREGATIONS", "Donor", "Merged", "Settings"]

AGGREGATIONS: Mapping[str, Callable[[Sequence[Donor], Settings], Merged]] = {
    "federated_coreset": federated_coreset,
    "simple_concatenate": simple_concatenate,
    "diversity_preserving": diversity_preserving,
    "coordinate_median": coordinate_median,
    "geometric_median": geometric_median,
    "site_vote": site_vote,
}
