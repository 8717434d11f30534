"""One layer of a PyTorch source at a time, through the door that everybody uses."""

import gatescope as gs


def load_torch(source, *, layer=0, reverse=False, **options):
    """Return one layer in one direction."""
    return gs.load_weights(source, layers=layer, reverse=reverse, **options)
