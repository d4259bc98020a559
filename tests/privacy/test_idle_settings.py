"""A setting of privacy counts or is refused by name: none is taken and ignored."""

from __future__ import annotations

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.idle import ALL, MASKED, SUMS
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.settings import PrivacySettings

OTHER = {  # a value other than the default of each setting
    "dp-epsilon": 0.5,
    "dp-delta": 1e-6,
    "dp-budget-epsilon": 2.0,
    "dp-clip": 0.5,
    "dp-sample-rate": 0.5,
    "dp-clipping": "adaptive",
    "dp-cells": 64,
    "dp-first-share": 0.1,
    "dp-projection": 16,
    "dp-waves": 512,
    "dp-bandwidth": 0.5,
    "dp-power": 0.5,
    "dp-regions": 4,
    "dp-codebook": "public",
    "dp-combine": "per-site",
    "dp-share-metrics": True,
    "dp-alone-epsilon": 5.0,
    "min-openers": 2,
    "colluding-sites": 0,
}
COUNTS = {  # written a second time: with which word of dp each counts, as docs/privacy.md has it
    "dp-epsilon": "cells moments kernel sgd client per-vector",
    "dp-delta": "cells moments kernel sgd client per-vector",
    "dp-budget-epsilon": "cells moments kernel sgd client per-vector",
    "dp-share-metrics": "cells moments kernel sgd client per-vector",
    "dp-clip": "sgd client per-vector",
    "dp-sample-rate": "sgd",
    "dp-clipping": "client",
    "dp-cells": "cells",
    "dp-first-share": "cells",
    "dp-projection": "cells moments kernel",
    "dp-waves": "kernel",
    "dp-bandwidth": "kernel",
    "dp-power": "moments",
    "dp-regions": "moments",
    "dp-codebook": "cells moments kernel",
    "dp-combine": "cells",  # with the two others it is refused for another reason
}
WORDS = ("off", *MECHANISMS)


def run(dp: str, **told: object) -> dict[str, object]:
    method = "student" if dp in ("sgd", "client") else "patchcore"
    given = {"method": method, "dp": dp, "min-sites": 3, "dp-budget-epsilon": 1.0}
    return {**given, **{key.replace("_", "-"): value for key, value in told.items()}}


def test_every_setting_of_privacy_is_in_the_table() -> None:
    known = {key.replace("-", "_") for key in OTHER}
    assert known == set(PrivacySettings.model_fields) - {"dp", "secure_sums", "secure_figures"}
    assert set(COUNTS) | {"dp-alone-epsilon", "min-openers", "colluding-sites"} == set(OTHER)
    owned = {name for one in MECHANISMS.values() for name in one.own}
    assert known == {*ALL, *SUMS, *MASKED, *owned, "dp_alone_epsilon"}


@pytest.mark.parametrize("dp", WORDS)
@pytest.mark.parametrize("key", COUNTS)
def test_a_setting_counts_or_is_refused_by_name_with_what_mends_it(key: str, dp: str) -> None:
    given = run(dp, **{key: OTHER[key]})
    if (key, dp) in (("dp-first-share", "cells"), ("dp-regions", "moments")):
        given["num-rounds"] = 2
    if dp in COUNTS[key].split():
        RunConfig.parse(given, where="run-config")
        return
    with pytest.raises(ConfigError) as found:
        RunConfig.parse(given, where="run-config")
    (line,) = str(found.value).splitlines()
    assert key in line
    if key != "dp-combine" or dp not in ("moments", "kernel"):
        assert f"{key}=" in line and f"does nothing with dp='{dp}': leave it out, or set" in line
        for one in COUNTS[key].split():
            assert f"dp='{one}'" in line


@pytest.mark.parametrize("dp", ("off", "moments"))
@pytest.mark.parametrize("key", ("min-openers", "colluding-sites", "dp-alone-epsilon"))
def test_settings_of_masked_sums_count_with_these_alone(key: str, dp: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}=.* leave it out, or set secure-sums=true"):
        RunConfig.parse(run(dp, **{key: OTHER[key]}), where="run-config")
    if dp != "off":
        RunConfig.parse(run(dp, secure_sums=True, **{key: OTHER[key]}), where="run-config")
    if key != "dp-alone-epsilon":
        RunConfig.parse(run(dp, secure_figures=True, **{key: OTHER[key]}), where="run-config")


def test_updates_under_masks_without_noise_have_nothing_for_a_cap_to_hold() -> None:
    given = {**run("off", secure_sums=True), "method": "student", "dp-alone-epsilon": 5.0}
    with pytest.raises(ConfigError, match="caps noise that sites share, and there is none"):
        RunConfig.parse(given, where="run-config")


@pytest.mark.parametrize("key", ("dp-cells", "dp-projection"))
def test_a_codebook_file_is_not_cut_again(key: str) -> None:
    given = run("cells", **{key: OTHER[key]})
    with pytest.raises(ConfigError, match=f"{key}=.*which is cut already: leave it out, or name a"):
        RunConfig.parse({**given, "dp-codebook": "book.safetensors"}, where="run-config")
    RunConfig.parse({**given, "dp-codebook": "folder"}, where="run-config")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aggregation", "geometric_median"),
        ("weighted-by-samples", True),
        ("density-filter", 0.1),
    ],
)
@pytest.mark.parametrize("dp", ("cells", "moments", "kernel"))
def test_what_noisy_sums_have_no_use_for_is_refused(dp: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key}=.* does nothing with dp='{dp}'"):
        RunConfig.parse(run(dp, **{key: value}), where="run-config")
    if dp == "cells" and key == "aggregation":
        RunConfig.parse(run(dp, dp_combine="per-site", **{key: value}), where="run-config")


@pytest.mark.parametrize("dp", ("kernel", "per-vector"))
def test_more_rounds_than_a_mechanism_has_use_for_are_refused(dp: str) -> None:
    with pytest.raises(ConfigError, match=f"dp='{dp}' takes num-rounds=1"):
        RunConfig.parse(run(dp, num_rounds=2), where="run-config")


def test_all_that_is_idle_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as found:
        RunConfig.parse(run("cells", dp_power=0.5, dp_waves=64), where="run-config")
    assert "dp-power=0.5 does nothing" in str(found.value)
    assert "dp-waves=64 does nothing" in str(found.value)
