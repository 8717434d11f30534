"""The figures of this repository: one script a figure, from numbers to ``data/*.npz`` to ``out/*.png, *.svg``."""
