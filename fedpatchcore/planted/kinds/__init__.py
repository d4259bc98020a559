"""Kinds of planted defects, a file each: outline and looks at full strength."""
