"""Kaggle through its official client: download, submit, scores, training on its GPUs.

The only wing that talks to Kaggle; nothing above it imports it, `python -m src.kaggle_api` does.
"""
