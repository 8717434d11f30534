"""The CPU: sweeps over time in blocks of sequences, one block a thread; `loops/` holds what is compiled."""
