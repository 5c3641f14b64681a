"""Photographs in, submission out: folds → data → train → bundle → predict → ensemble."""
