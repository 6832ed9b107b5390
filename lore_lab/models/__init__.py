"""Pretrained models: what a checkpoint must have, and its shape. Imports no torch."""
