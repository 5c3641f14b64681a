"""A Variant is trained, resumed after a kill, exported, and proven to be the same when reloaded."""

from src.training.export import export, holdout_probs, holdout_table, plot_mistakes
from src.training.fit import fit, get_learner
from src.training.run import Run, next_steps, start, variant_table
from src.training.schedule import make_plan
