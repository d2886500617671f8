"""The table of networks, which a network made of others looks them up in."""

from slowfast.config import Registry

# By MODEL.MODEL_NAME; `build.py` fills it.
MODELS = Registry("model")
