"""Puts this folder on the path, so that tests in sub-folders find `naive` (the oracle) and `cases` too."""
