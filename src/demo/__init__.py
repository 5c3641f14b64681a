"""Draws a competition of paddy leaves in Kaggle's layout, from a seed and nothing else."""
