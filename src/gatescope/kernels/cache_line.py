"""What memory goes to the caches in."""

CACHE_LINE = 64  # bytes, on the machines that there are
