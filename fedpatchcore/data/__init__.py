"""Images of a site: decoding, folder layouts, masks.

Also what only a simulation needs: partitions over virtual sites and the synthetic sample.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "amounts": ["duration", "images_told", "seen_told", "size", "work_told"],
        "check.findings": ["FAULT", "Finding", "NOTE", "WARNING"],
        "check.grouped": ["groups_used"],
        "check.looks": ["Looks"],
        "check.running": ["check_products", "gravest"],
        "content": ["by_content", "content_hash", "file_state"],
        "counts": ["TESTS", "statistics", "write_statistics"],
        "decoding": ["MAX_PIXELS"],
        "dicom": ["DICOM_HEAD", "DICOM_SUFFIXES", "is_dicom"],
        "dicom_plain": ["plain_dicom"],
        "exclude": ["excluded", "without", "without_at_sites"],
        "group_by": ["AUTOMATIC", "BY_FOLDER", "SINGLE", "compiled"],
        "groups": ["Groups", "group_images", "named_groups"],
        "images": [
            "IMAGE_SUFFIXES",
            "list_images",
            "load_image",
            "load_mask",
            "to_pil",
            "union_mask",
        ],
        "layouts.discovery": ["discover", "overlooked"],
        "layouts.folders": ["folders"],
        "layouts.list": ["listed_groups"],
        "layouts.plain": ["sites_in"],
        "layouts.registry": ["AUTO", "LAYOUTS"],
        "manifest": ["read_groups"],
        "parts": ["find_parts"],
        "products": ["Product", "TestImage"],
        "reduced": ["Box", "load_reduced"],
        "sample": ["VERSION", "write_sample"],
        "sample.phantoms": ["write_phantoms"],
        "saturation": ["Region", "load_regions"],
        "settings": ["DataSettings"],
        "sizes": ["image_size"],
        "stored": ["pages_in"],
        "tables": ["columns_of", "no_formula"],
        "value_range": ["ValueRange", "canonical", "parse_range"],
    },
)
