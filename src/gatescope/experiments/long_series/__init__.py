"""The published LSTM-GRU experiment on 40 series of 20,000 steps, done again over several seeds."""
