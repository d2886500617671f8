"""Every configuration key, with its meaning, unit and choices.

Key names follow PySlowFast where it has the key; `FFN`, `OBJECTIVE` and the keys marked "ours" do
not exist there.  A number given as an integer where a float stands is coerced; see `values.py`.
"""

from slowfast.config.node import CfgNode

_C = CfgNode()

# ---------------------------------------------------------------------------- frame flexibility
_C.FFN = CfgNode()
# Convert the network to a frame-flexible one (FFN, CVPR 2023): private norms and gains per rate.
_C.FFN.ENABLE = False
# Trained frame counts, rising, two or more.  Replaces DATA.NUM_FRAMES when FFN.ENABLE.
_C.FFN.NUM_FRAMES = [4, 8, 16]
# Checkpoint labels of the private layers, one per count; [] uses the counts themselves.  The
# published SlowFast-FFN stores its 16/32/64-frame copies under ["4", "8", "16"].
_C.FFN.TAGS = []
# Turn the network's weight-alteration marks into per-rate gains (off in the published TEA-FFN).
_C.FFN.ALTER = True
# Training frames of the lower rates: `independent` draws each rate anew (as published), `nested`
# picks them among the frames of the next higher rate, so that fewer frames are decoded.
_C.FFN.SAMPLING = "independent"
# Weight of the distillation terms.
_C.FFN.LAMBDA = 1.0
# Softmax temperature of the distillation terms; their gradient scale is kept by a factor t^2.
_C.FFN.TEMPERATURE = 1.0
# What the rates learn from: `teacher` (highest from labels, others from the highest, as published),
# `mutual` (labels and each other) or `labels` (labels only).
_C.FFN.DISTILL = "teacher"
# `per_rate` back-propagates each rate before the next one runs (memory of one rate, same gradient),
# `joint` sums the losses first, as the original does.  `mutual` needs `joint`.
_C.FFN.BACKWARD = "per_rate"

# ---------------------------------------------------------------------------- objective (ours)
_C.OBJECTIVE = CfgNode()
# Training objective by registered name; `auto` is `ffn` when FFN.ENABLE, else `classify`.
_C.OBJECTIVE.NAME = "auto"
# Label smoothing of the cross-entropy, 0 to 1.
_C.OBJECTIVE.LABEL_SMOOTHING = 0.0

# ---------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
# Registered network: SlowFast, UniFormer, R2Plus1D.
_C.MODEL.MODEL_NAME = "SlowFast"
# Architecture within the network's family, checked against it; "" takes the family's default.
_C.MODEL.ARCH = ""
# Number of classes; labels are 0 .. NUM_CLASSES - 1.
_C.MODEL.NUM_CLASSES = 400
# Dropout before the classifier.
_C.MODEL.DROPOUT_RATE = 0.5
# Standard deviation of the classifier's initial weights.
_C.MODEL.FC_INIT_STD = 0.01
# Turns logits into scores at test time: softmax, sigmoid or none.
_C.MODEL.HEAD_ACT = "softmax"
# Recompute activations in the backward pass instead of keeping them: less memory, more time.
_C.MODEL.ACT_CHECKPOINT = False

_C.RESNET = CfgNode()
# Depth of the residual network: 18, 50 or 101.
_C.RESNET.DEPTH = 50
# Width of the stem; stages are 4, 8, 16, 32 times as wide (1, 2, 4, 8 for depth 18).
_C.RESNET.WIDTH_PER_GROUP = 64
# Groups of the 3x3 convolutions.
_C.RESNET.NUM_GROUPS = 1
# Zero the last norm of every residual block, so that blocks start as identity.
_C.RESNET.ZERO_INIT_FINAL_BN = False
# Residual block: bottleneck_transform or basic_transform.
_C.RESNET.TRANS_FUNC = "bottleneck_transform"
# Put a block's spatial stride on its first 1x1 convolution instead of its 3x3.
_C.RESNET.STRIDE_1X1 = False
# Per stage and pathway, how many blocks (from the first) keep the stage's temporal kernel.
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3, 3], [4, 4], [6, 6], [3, 3]]
# Spatial stride per stage and pathway.
_C.RESNET.SPATIAL_STRIDES = [[1, 1], [2, 2], [2, 2], [2, 2]]
# Spatial dilation of the 3x3 convolutions per stage and pathway.
_C.RESNET.SPATIAL_DILATIONS = [[1, 1], [1, 1], [1, 1], [1, 1]]

_C.SLOWFAST = CfgNode()
# Fast frames per slow frame (alpha).
_C.SLOWFAST.ALPHA = 8
# Slow channels per fast channel (1 / beta).
_C.SLOWFAST.BETA_INV = 8
# Channels of a lateral connection over those of its fast stage.
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Temporal kernel of the lateral convolutions.
_C.SLOWFAST.FUSION_KERNEL_SZ = 5

_C.UNIFORMER = CfgNode()
# Blocks per stage: S is [3, 4, 8, 3], B is [5, 8, 20, 7].
_C.UNIFORMER.DEPTH = [3, 4, 8, 3]
# Channels per stage.
_C.UNIFORMER.EMBED_DIM = [64, 128, 320, 512]
# Channels per attention head.
_C.UNIFORMER.HEAD_DIM = 64
# Hidden width of the MLPs over their input's.
_C.UNIFORMER.MLP_RATIO = 4.0
# Bias in the query, key and value projections.
_C.UNIFORMER.QKV_BIAS = True
# Dropout in MLPs and projections.
_C.UNIFORMER.DROPOUT_RATE = 0.0
# Dropout of attention weights.
_C.UNIFORMER.ATTENTION_DROPOUT_RATE = 0.0
# Stochastic depth at the last block; rises linearly from 0 at the first.
_C.UNIFORMER.DROP_DEPTH_RATE = 0.1
# Overlapping 3-frame kernels in the patch embeddings of stages 2 to 4.
_C.UNIFORMER.STD = False

_C.R2PLUS1D = CfgNode()
# Channels per stage (ours).
_C.R2PLUS1D.WIDTHS = [64, 128, 256, 512]
# Residual blocks per stage (ours).
_C.R2PLUS1D.BLOCKS = [2, 2, 2, 2]

_C.BN = CfgNode()
# Weight decay of BatchNorm parameters.
_C.BN.WEIGHT_DECAY = 0.0

# ---------------------------------------------------------------------------- data
_C.DATA = CfgNode()
# Folder of train.csv, val.csv and test.csv (test falls back to val).
_C.DATA.PATH_TO_DATA_DIR = ""
# Put before every path of the lists.
_C.DATA.PATH_PREFIX = ""
# Between path and label in the lists.
_C.DATA.PATH_LABEL_SEPARATOR = " "
# Frames of a clip of a plain network.  With FFN.ENABLE see FFN.NUM_FRAMES.
_C.DATA.NUM_FRAMES = 8
# Stride between frames at the highest rate of a dense clip, in frames of a TARGET_FPS video.
_C.DATA.SAMPLING_RATE = 8
# Frame rate that SAMPLING_RATE refers to, in frames per second.
_C.DATA.TARGET_FPS = 30
# Where a clip's frames come from: `dense` (one span of NUM_FRAMES x SAMPLING_RATE frames,
# Kinetics), `segment` (one frame per equal segment of the video, Something-Something) or `auto`
# (as the data set's catalogue entry says).
_C.DATA.SAMPLING = "auto"
# Network input mean and standard deviation per channel (of pixels / 255).
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# Colour channels per pathway; always 3 here, the key is for PySlowFast's files.
_C.DATA.INPUT_CHANNEL_NUM = [3, 3]
# Range of the random short side in training, in pixels.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Draw the short side uniformly in 1/size instead of size.
_C.DATA.INV_UNIFORM_SAMPLE = False
# Side of the training crop, in pixels.
_C.DATA.TRAIN_CROP_SIZE = 224
# Side of the validation and test crop, in pixels.
_C.DATA.TEST_CROP_SIZE = 256
# Mirror half of the training samples.  An error on data sets whose classes have a direction.
_C.DATA.RANDOM_FLIP = True
# Give the network BGR instead of RGB.
_C.DATA.REVERSE_INPUT_CHANNEL = False
# Shrink frames to this short side while decoding, in pixels; 0 keeps their size (ours).
_C.DATA.DECODE_SHORT_SIDE = 0
# Keep decoded videos in memory up to this many GB per loader process; 0 decodes anew (ours).
_C.DATA.CACHE_GB = 0.0
# How the scores of a video's views become one: sum or max.
_C.DATA.ENSEMBLE_METHOD = "sum"

_C.DATA_LOADER = CfgNode()
# Worker processes per loader; 0 loads in the main process.
_C.DATA_LOADER.NUM_WORKERS = 8
# Page-locked batches for faster copies to a GPU.
_C.DATA_LOADER.PIN_MEMORY = True

# ---------------------------------------------------------------------------- training
_C.TRAIN = CfgNode()
# Train.
_C.TRAIN.ENABLE = True
# Data set by catalogue name.
_C.TRAIN.DATASET = "kinetics"
# Videos per step.
_C.TRAIN.BATCH_SIZE = 64
# Validate every rate each this many epochs, and after the last.
_C.TRAIN.EVAL_PERIOD = 10
# Write a checkpoint each this many epochs, and after the last.
_C.TRAIN.CHECKPOINT_PERIOD = 10
# Keep this many newest checkpoints, beside the best (ours).
_C.TRAIN.KEEP_CHECKPOINTS = 3
# Continue from the newest checkpoint in OUTPUT_DIR.
_C.TRAIN.AUTO_RESUME = True
# Weights to start from.  Only the weights are read.
_C.TRAIN.CHECKPOINT_FILE_PATH = ""
# Load CHECKPOINT_FILE_PATH although its classifier has another number of classes (ours).
_C.TRAIN.CHECKPOINT_NEW_HEAD = False
# Mixed-precision forward pass.
_C.TRAIN.MIXED_PRECISION = False
# Its number format: bf16 or fp16 (with loss scaling) (ours).
_C.TRAIN.AMP_DTYPE = "bf16"

# ---------------------------------------------------------------------------- testing
_C.TEST = CfgNode()
# Test after training.
_C.TEST.ENABLE = True
# Data set by catalogue name.
_C.TEST.DATASET = "kinetics"
# Videos per step; each brings all its views.
_C.TEST.BATCH_SIZE = 8
# Weights to test; "" is the last checkpoint in OUTPUT_DIR, else TRAIN.CHECKPOINT_FILE_PATH.
_C.TEST.CHECKPOINT_FILE_PATH = ""
# Frame counts to test, trained or not; [] tests the trained ones (ours).
_C.TEST.NUM_FRAMES = []
# Clips along time per video.
_C.TEST.NUM_ENSEMBLE_VIEWS = 10
# Crops per clip: 1 (centre) or 3 (left, centre, right).
_C.TEST.NUM_SPATIAL_CROPS = 3

# ---------------------------------------------------------------------------- optimisation
_C.SOLVER = CfgNode()
# sgd, adam or adamw.
_C.SOLVER.OPTIMIZING_METHOD = "sgd"
# Learning rate before schedule and warm-up.
_C.SOLVER.BASE_LR = 0.1
# cosine or steps_with_relative_lrs.
_C.SOLVER.LR_POLICY = "cosine"
# Learning rate at the end of the cosine.
_C.SOLVER.COSINE_END_LR = 0.0
# Start the cosine at the end of the warm-up instead of at epoch 0.
_C.SOLVER.COSINE_AFTER_WARMUP = False
# Epochs at which steps_with_relative_lrs changes; the first is 0.
_C.SOLVER.STEPS = []
# Learning rate from each step on, over BASE_LR.
_C.SOLVER.LRS = []
# Epochs of training.
_C.SOLVER.MAX_EPOCH = 300
# Epochs of linear warm-up; may be a fraction.
_C.SOLVER.WARMUP_EPOCHS = 0.0
# Learning rate at the start of the warm-up.
_C.SOLVER.WARMUP_START_LR = 0.01
# Momentum, dampening and Nesterov form of SGD.
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.DAMPENING = 0.0
_C.SOLVER.NESTEROV = True
# Betas of Adam and AdamW.
_C.SOLVER.BETAS = [0.9, 0.999]
# Weight decay of all but BatchNorm (see BN.WEIGHT_DECAY) and what the next key exempts.
_C.SOLVER.WEIGHT_DECAY = 1e-4
# No weight decay for biases and other one-dimensional parameters.
_C.SOLVER.ZERO_WD_1D_PARAM = False
# Clip each gradient entry to this magnitude; None is off.
_C.SOLVER.CLIP_GRAD_VAL = None
# Clip the norm of the whole gradient to this; None is off.
_C.SOLVER.CLIP_GRAD_L2NORM = None

# ---------------------------------------------------------------------------- run
_C.TENSORBOARD = CfgNode()
# Write TensorBoard scalars to OUTPUT_DIR/tensorboard.
_C.TENSORBOARD.ENABLE = False

# 0 runs on the CPU, 1 on one GPU (on the CPU, with a log line, where there is none).
_C.NUM_GPUS = 1
# Threads of the CPU computation; 0 leaves PyTorch's choice (ours).
_C.NUM_THREADS = 0
# Everything of a run goes here.
_C.OUTPUT_DIR = "."
# Seed of initialisation, sampling and augmentation.
_C.RNG_SEED = 1
# Steps between two log records.
_C.LOG_PERIOD = 10


def get_cfg() -> CfgNode:
    """A fresh, changeable copy of the defaults."""
    return _C.clone()
