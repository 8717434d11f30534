"""Weights of PyTorch: its files, safetensors, state_dicts, live modules."""
