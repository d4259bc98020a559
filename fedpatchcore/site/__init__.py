"""A site's half of every round: its images, its coreset, its ledger, its verdicts.

`open_site` makes a `Site` of settings; images never leave this room.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "eligible": ["require_now"],
        "evaluation": ["evaluate_site"],
        "faults": ["known_faults"],
        "grouping": ["Grouping"],
        "measuring": ["Scored", "called", "decisions", "measure", "score_images", "truth_masks"],
        "methods.feddymem": ["WEIGHTS"],
        "methods.generating": ["model_of"],
        "methods.gradients": ["ACCEPTED", "CONTROL", "TURN", "version_of"],
        "methods.registry": ["Asked"],
        "methods.student": ["student_of"],
        "normals": ["Normals"],
        "odd": ["odd_images"],
        "own_bank": ["keep_own_bank"],
        "planted": ["good_pictures", "plant_into", "real_sizes"],
        "rehearsal": ["rehearse_attack"],
        "secure": ["secure_reply"],
        "secure_figures": ["keep_figures"],
        "secure_updates": ["keep_updates"],
        "selection": ["coreset_size"],
        "settings": ["Eligibility", "SiteSettings"],
        "setup": ["forget_backbones", "open_site", "use_threads"],
        "site": ["Site"],
        "tuning": ["tune_reply"],
        "virtual": ["one_product", "sample_folder", "virtual_sites"],
        "withholding": ["FROM_TRAINING", "discreet", "keep_private", "withheld"],
    },
)
