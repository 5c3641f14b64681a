"""Photographs in, submission out: competition → folds → data → train → bundle → predict → ensemble → submission."""
