"""The published LSTM-GRU experiment on 40 series of 20,000 steps, repeated over several seeds."""
