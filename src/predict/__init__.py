"""Inference: probabilities of finished models, with TTA, in one pass over the photographs."""

from src.predict.bundles import predict_bundles
from src.predict.tta import BATCH, Model, Tables, forward, predict
