"""``python -m figures [--fast] [--only NAME] [--out FOLDER]``."""

from figures._building import main

main()
