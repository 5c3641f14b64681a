"""What a recipe adds to plain training: small callbacks on fastai's hooks, listed in `recipes`."""
