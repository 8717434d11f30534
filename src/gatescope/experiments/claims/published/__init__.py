"""What others published, done again in settings like theirs: no verdict depends on it, it stands beside one."""
