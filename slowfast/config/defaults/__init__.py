"""Every configuration key, with its meaning, unit and choices.

Key names follow PySlowFast where it has the key; `FFN`, `OBJECTIVE` and the keys marked "ours" do
not exist there.  A number given as an integer where a float stands is coerced; see `values.py`.
"""

from slowfast.config.defaults import data, models, training
from slowfast.config.node import CfgNode


def get_cfg() -> CfgNode:
    """A fresh, changeable copy of the defaults."""
    cfg = CfgNode()
    for part in (training, models, data):
        cfg.update(part.KEYS.clone())
    return cfg
