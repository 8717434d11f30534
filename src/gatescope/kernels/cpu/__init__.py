"""The CPU: sweeps over time in blocks of sequences, each thread some of them; `loops/` holds what is compiled."""
