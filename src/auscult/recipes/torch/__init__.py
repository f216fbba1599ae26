"""PyTorch recipes: K models per batched step; torch loads when one is trained."""
