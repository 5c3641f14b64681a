"""From photographs to model input: backbones and weights, views, augmentation, DataLoaders."""

from src.vision import backbone, weights
from src.vision.backbone import create_kwargs, stats, timm_name
from src.vision.loaders import batch_tfms, get_dls, item_tfms, workers
from src.vision.photograph import open_image
from src.vision.pixels import cut, plain_view, shrink
from src.vision.views import Frame, View, fixed_views, frame_of, sample_view, view_rng
from src.vision.weights import fetch, forget_file, load_kwargs, require_loaded, unusable
