"""Judging an encoder: extract features once, split by group, solve a probe, measure.

Never imports the training loop.
"""
