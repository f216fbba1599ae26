"""The ground: errors, files, processes and memory, progress, randomness."""
