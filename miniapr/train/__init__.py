"""Supervised fine-tuning on demonstrations: data, packing, optimiser, loop."""
