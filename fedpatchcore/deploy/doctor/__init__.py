"""Everything that must be right before a run, a line a check, each with what mends it."""
