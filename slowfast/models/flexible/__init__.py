"""Frame-flexible networks (FFN, arXiv:2303.14817): private norms and gains per trained frame count.

A plain network is built first and converted then, as with `SyncBatchNorm.convert_sync_batchnorm`:

    model = FrameFlexible(SlowFast(depth=50), num_frames=(16, 32, 64))
    logits = model(clip)                     # any T: runs at the nearest trained count
    low, mid, high = model((x16, x32, x64))  # several clips, each at its own rate
"""

from slowfast.models.flexible.any_frame import RULES, add_rates, recalibrate
from slowfast.models.flexible.convert import NORMS, make_frame_flexible
from slowfast.models.flexible.frame_flexible import FrameFlexible
from slowfast.models.flexible.names import private_names
from slowfast.models.flexible.rates import Rate, Rates, all_rates
from slowfast.models.flexible.recompute import checkpoint
from slowfast.models.flexible.sized import sized
from slowfast.models.flexible.specialize import Specialized, specialize
from slowfast.models.flexible.switch import RateSwitch

__all__ = [
    "NORMS",
    "RULES",
    "FrameFlexible",
    "Rate",
    "RateSwitch",
    "Rates",
    "Specialized",
    "add_rates",
    "all_rates",
    "checkpoint",
    "make_frame_flexible",
    "private_names",
    "recalibrate",
    "sized",
    "specialize",
]
