"""``python -m figures [--fast] [--only NAME] [--out FOLDER]``."""

from figures.building import main

main()
