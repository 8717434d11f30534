"""Input series from files: arrays, tables in text and parquet, texts."""
