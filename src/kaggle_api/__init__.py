"""The only wing that talks to Kaggle: download, submit, scores, training on its GPUs."""
