"""Libraries that are not needed otherwise: their tests skip where they are not installed."""
