"""The command ``gatescope train``."""
