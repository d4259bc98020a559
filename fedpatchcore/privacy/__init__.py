"""Differential privacy per image: mechanisms, accounting, a site's ledger, audits.

What is added up and when is for `fedpatchcore.site` and `fedpatchcore.server` to say.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "accounting": ["gaussian_epsilon", "gaussian_sigma", "max_delta"],
        "audit.canaries": ["MechanismAudit", "audit_mechanism"],
        "audit.findings": [
            "bank_verdict",
            "claim_of",
            "contradicts",
            "figure",
            "mechanism_verdict",
            "plain",
        ],
        "audit.membership": ["attack_scores", "image_statistics", "membership"],
        "audit.reconstruction": ["reconstruction"],
        "audit.refutation": ["epsilon_lower_bound"],
        "codebook": ["ANY", "ARRAYS", "Codebook", "public_codebook"],
        "discrete": ["discrete_gaussian"],
        "figures": ["figures_clash"],
        "ledger": ["Ledger", "Released", "Request"],
        "load": ["Load", "load_of"],
        "noise": ["rounded_gaussian"],
        "per_vector": ["PerVectorGaussian"],
        "policy": ["Policy"],
        "registry": ["MECHANISMS", "Mechanism", "NO_PROTECTION", "examples"],
        "releases": ["LedgerNote", "Release", "ledgers_told"],
        "round_noise": ["round_sigma", "sums_over"],
        "settings": ["KINDS", "PrivacySettings", "SitePrivacy", "TRAINED"],
        "shared_noise": ["alone_multiplier", "share_steps", "sum_sigma"],
        "shares": ["surveys"],
        "statement": ["privacy_report"],
        "sums": ["ImageSums", "Readout", "STEPS_A_SIGMA"],
        "survey": ["moved", "survey_of"],
        "training_noise": [
            "client_multiplier",
            "counted_noise",
            "step_multiplier",
            "update_multiplier",
        ],
    },
)
