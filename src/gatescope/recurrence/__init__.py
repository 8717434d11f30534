"""Run a cell over a series and carry gradients back through it."""
