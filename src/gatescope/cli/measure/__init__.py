"""The commands ``gatescope measure ...``, made from the registry of measurements."""
