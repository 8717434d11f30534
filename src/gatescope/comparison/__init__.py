"""The main job: several cells measured alike, their table, their figures, and the folder that holds all of it."""
