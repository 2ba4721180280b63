"""Simulated silicon: a separate process that plays the chip. It protects nothing from its host."""
