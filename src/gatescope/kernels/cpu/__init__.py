"""The CPU: sweeps over time in blocks of sequences, of which each thread takes some; `loops/` holds what is compiled."""
