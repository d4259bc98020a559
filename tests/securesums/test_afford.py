"""What a share of noise costs if all others collude, said before any site draws one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.securesums.afford import alone_clash, alone_epsilon
from fedpatchcore.settings import kebab

SECURE = {
    "dp": "moments",
    "dp_epsilon": 8.0,
    "dp_budget_epsilon": 8.0,
    "secure_sums": True,
    "backbone": "filterbank",
    "geometry": "full",
}


def test_it_is_the_epsilon_of_one_share() -> None:
    """Of four that open one may collude: three shares are the noise, each has a third of it."""
    sigma = gaussian_sigma(8.0, 1e-5)
    assert alone_epsilon(8.0, 1e-5, 4, 1) == pytest.approx(
        gaussian_epsilon(sigma / 3**0.5, 1e-5), rel=1e-3
    )
    assert alone_epsilon(8.0, 1e-5, 2, 1) == pytest.approx(8.0, rel=1e-3)  # one share is all


def test_a_run_that_no_site_could_pay_for_is_refused_before_it_starts(cli, tmp_path: Path) -> None:
    words = [w for key, value in SECURE.items() for w in ("-c", f"{kebab(key)}={value}")]
    words += ["--sites", "5", "--out", str(tmp_path / "runs")]
    code, _, err = cli("simulate", *words)
    told = " ".join(err.split())
    assert code == 2 and "no site could pay" in told and "ε=15.86" in told
    assert "-c dp-alone-epsilon=15.9" in told and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "more", [{"dp_alone_epsilon": 15.9}, {"dp_epsilon": 4.0}, {"secure_sums": False}]
)
def test_what_it_says_is_what_helps(more: dict[str, object]) -> None:
    assert alone_clash(RunConfig(**SECURE), 5)
    assert not alone_clash(RunConfig(**{**SECURE, **more}), 5)


def test_more_sites_leave_less_noise_to_each() -> None:
    config = RunConfig(**SECURE)
    assert not alone_clash(config, 2)
    assert "4 of 5 sites" in alone_clash(config, 5)
    assert "40 of 50 sites" in alone_clash(config, 50)
