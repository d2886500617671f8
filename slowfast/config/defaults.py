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
# Private layers that test an untrained frame count: those of the `nearest` trained one (as
# published), `interpolated` between the two around it, nearest's `recalibrated` on clips of that
# count, or `interpolated_recalibrated`.
_C.FFN.ANY_FRAME = "nearest"
# Unlabelled training clips per frame count that `recalibrated` takes BatchNorm statistics from.
_C.FFN.RECALIBRATION_CLIPS = 256

# ---------------------------------------------------------------------------- objective (ours)
_C.OBJECTIVE = CfgNode()
# Training objective by registered name; `auto` is `ffn` when FFN.ENABLE, else `classify`.
_C.OBJECTIVE.NAME = "auto"
# Label smoothing of the cross-entropy, 0 to 1.
_C.OBJECTIVE.LABEL_SMOOTHING = 0.0

# ---------------------------------------------------------------------------- model
_C.MODEL = CfgNode()
# Registered network, one of slowfast.models.MODELS.names.
_C.MODEL.MODEL_NAME = "SlowFast"
# Architecture within the network's family, checked against it; "" takes the family's default.
_C.MODEL.ARCH = ""
# Number of classes; labels are 0 .. NUM_CLASSES - 1.
_C.MODEL.NUM_CLASSES = 400
# Dropout before the classifier.
_C.MODEL.DROPOUT_RATE = 0.5
# Probability in training to drop a residual block of X3D's last stage, 2/5 of it at the first;
# PySlowFast has the key but never drops.
_C.MODEL.DROPCONNECT_RATE = 0.0
# Standard deviation of the classifier's initial weights.
_C.MODEL.FC_INIT_STD = 0.01
# Loss of the labels: cross_entropy; where videos have several labels, bce_logit (each class by
# itself) or soft_cross_entropy (the labels of a video share its probability).
_C.MODEL.LOSS_FUNC = "cross_entropy"
# Turns logits into scores at test time: softmax, sigmoid or none.
_C.MODEL.HEAD_ACT = "softmax"
# Recompute activations in the backward pass instead of keeping them: less memory, more time.
_C.MODEL.ACT_CHECKPOINT = False

_C.RESNET = CfgNode()
# Depth of the residual network: 18, 34, 50, 101 or 152, or those of them that the network has.
_C.RESNET.DEPTH = 50
# Width of the stem; stages are 4, 8, 16, 32 times as wide (1, 2, 4, 8 for depth 18).
_C.RESNET.WIDTH_PER_GROUP = 64
# Groups of the 3x3 convolutions.
_C.RESNET.NUM_GROUPS = 1
# Zero the last norm of every residual block, so that blocks start as identity.
_C.RESNET.ZERO_INIT_FINAL_BN = False
# Residual block: bottleneck_transform, basic_transform or x3d_transform (X3D).
_C.RESNET.TRANS_FUNC = "bottleneck_transform"
# Put a block's spatial stride on its first 1x1 convolution instead of its 3x3.
_C.RESNET.STRIDE_1X1 = False
# Per stage and pathway, how many blocks (from the first) keep the stage's temporal kernel.  Here
# and in all lists like it, the last entry of a stage serves the pathways that have none.
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]
# Spatial stride per stage and pathway.
_C.RESNET.SPATIAL_STRIDES = [[1], [2], [2], [2]]
# Spatial dilation of the 3x3 convolutions per stage and pathway.
_C.RESNET.SPATIAL_DILATIONS = [[1], [1], [1], [1]]

_C.NONLOCAL = CfgNode()
# Per stage and pathway, the residual blocks, counted from 0, behind which a non-local block stands.
_C.NONLOCAL.LOCATION = [[[]], [[]], [[]], [[]]]
# Per stage and pathway, the groups of frames that do not see each other.
_C.NONLOCAL.GROUP = [[1], [1], [1], [1]]
# Per stage and pathway, frames, height and width pooled to one position to look at.
_C.NONLOCAL.POOL = [
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
]
# What makes similarities weights: softmax, or dot_product (over the number of positions).
_C.NONLOCAL.INSTANTIATION = "dot_product"

_C.SLOWFAST = CfgNode()
# Fast frames per slow frame (alpha).
_C.SLOWFAST.ALPHA = 8
# Slow channels per fast channel (1 / beta).
_C.SLOWFAST.BETA_INV = 8
# Channels of a lateral connection over those of its fast stage.
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Temporal kernel of the lateral convolutions.
_C.SLOWFAST.FUSION_KERNEL_SZ = 5

_C.X3D = CfgNode()
# Channels of the stem before WIDTH_FACTOR.
_C.X3D.DIM_C1 = 12
# Widen the first stage over the stem.
_C.X3D.SCALE_RES2 = False
# Norm behind the head's pooling.
_C.X3D.BN_LIN5 = False
# Channels before the classifier.
_C.X3D.DIM_C5 = 2048
# 3x3x3 convolutions within each channel; False works in RESNET.NUM_GROUPS groups.
_C.X3D.CHANNELWISE_3x3x3 = True
# Factor on all widths; 2.0 in XS, S, M and L.
_C.X3D.WIDTH_FACTOR = 1.0
# Factor on the 1, 2, 5 and 3 blocks of the stages; 2.2 in XS, S and M, 5.0 in L.
_C.X3D.DEPTH_FACTOR = 1.0
# Width inside a block over the one outside; 2.25 in XS, S, M and L.
_C.X3D.BOTTLENECK_FACTOR = 1.0

_C.MVIT = CfgNode()
# Blocks.
_C.MVIT.DEPTH = 16
# Channels of the first block.
_C.MVIT.EMBED_DIM = 96
# Attention heads of the first block.
_C.MVIT.NUM_HEADS = 1
# Hidden width of the MLPs over their input's.
_C.MVIT.MLP_RATIO = 4.0
# Bias in the query, key and value projections.
_C.MVIT.QKV_BIAS = True
# Patches: kernel, stride and padding along time, height and width.
_C.MVIT.PATCH_KERNEL = [3, 7, 7]
_C.MVIT.PATCH_STRIDE = [2, 4, 4]
_C.MVIT.PATCH_PADDING = [2, 4, 4]
# Patches of each frame by itself; the three keys above then hold height and width only.
_C.MVIT.PATCH_2D = False
# Factors on the width, [[block, factor], ...]: at the end of the block before, or see the next key.
_C.MVIT.DIM_MUL = []
# Widen in the attention of the block named (MViTv2) instead of the MLP of the one before it.
_C.MVIT.DIM_MUL_IN_ATT = False
# Factors on the heads, [[block, factor], ...].
_C.MVIT.HEAD_MUL = []
# How queries, keys and values are pooled: conv, avg or max.
_C.MVIT.MODE = "conv"
# Pool before the linear layers of the attention instead of behind them.
_C.MVIT.POOL_FIRST = False
# Three linear layers for queries, keys and values instead of one.
_C.MVIT.SEPARATE_QKV = False
# Kernel of all pooling, odd, along time, height and width; None takes stride + 1.
_C.MVIT.POOL_KVQ_KERNEL = None
# Strides of the queries, [[block, time, height, width], ...]; other blocks do not pool them.
_C.MVIT.POOL_Q_STRIDE = []
# Strides of keys and values, [[block, time, height, width], ...].
_C.MVIT.POOL_KV_STRIDE = []
# Instead of these a stride for the first block, which every stride of the queries divides; None
# leaves it to POOL_KV_STRIDE.
_C.MVIT.POOL_KV_STRIDE_ADAPTIVE = None
# Add the pooled queries to the output of the attention.
_C.MVIT.RESIDUAL_POOLING = False
# Classify a class token instead of the mean of all tokens.
_C.MVIT.CLS_EMBED_ON = True
# Classify the mean of all other tokens, normed after it, with a class token too.
_C.MVIT.USE_MEAN_POOLING = False
# Learn embeddings of absolute positions, for DATA.TRAIN_CROP_SIZE and the most frames trained.
_C.MVIT.USE_ABS_POS = True
# One table for time and one for space instead of one for both.
_C.MVIT.SEP_POS_EMBED = False
# Sines and cosines that do not learn in the place of the table.
_C.MVIT.USE_FIXED_SINCOS_POS = False
# Embeddings of relative positions in height and width, and in time.
_C.MVIT.REL_POS_SPATIAL = False
_C.MVIT.REL_POS_TEMPORAL = False
# Start them from zero.
_C.MVIT.REL_POS_ZERO_INIT = False
# No weight decay for embeddings of positions and the class token.
_C.MVIT.ZERO_DECAY_POS_CLS = True
# Norm behind the patches.
_C.MVIT.NORM_STEM = False
# Dropout of patches, MLPs and projections.
_C.MVIT.DROPOUT_RATE = 0.0
# Stochastic depth at the last block; rises linearly from 0 at the first.
_C.MVIT.DROPPATH_RATE = 0.1
# Factor on the classifier's initial weights.
_C.MVIT.HEAD_INIT_SCALE = 1.0

_C.TIMM = CfgNode()
# Image network of timm, by timm's name (ours).
_C.TIMM.NAME = "efficientnet_b3"
# Start from timm's weights, which are downloaded (ours).
_C.TIMM.PRETRAINED = False
# Regular expression for the names of convolutions whose input is shifted in time, as in TSM; the
# first of each residual branch: layer.*\.conv1 in ResNets, blocks.*\.conv_pw in EfficientNets.
# "" shifts none (ours).
_C.TIMM.SHIFT = ""

_C.TSM = CfgNode()
# Blocks of a stage per one that shifts its input in time, counted from the first: 1 shifts in all,
# as FFN does; the original TSM takes 2 where a stage has 23 blocks or more (depths 101, 152)
# (ours).
_C.TSM.SHIFT_EVERY = 1
# One part in this many of the channels moves either way, 2 or more (ours).
_C.TSM.FOLD_DIV = 8

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
# Folder of train.csv, val.csv and test.csv (test falls back to val), or of the published lists.
_C.DATA.PATH_TO_DATA_DIR = ""
# Put before every path of the lists.
_C.DATA.PATH_PREFIX = ""
# Between path and label in the lists; another one is found out.
_C.DATA.PATH_LABEL_SEPARATOR = " "
# Name of the list of a split, with {} for the split, as in somesomev1_rgb_{}_split.txt; "" knows
# the published names.
_C.DATA.LABEL_PATH_TEMPLATE = ""
# What `tools/data.py check` found out, in PATH_TO_DATA_DIR: videos that it could not read are not
# tried again while their files stay as they are.  "" tries all (ours).
_C.DATA.MANIFEST = "manifest.jsonl"
# Stop training when more videos than this cannot be read in an epoch: below 1 it is a share of the
# list, from 1 on a number of videos (ours).
_C.DATA.MAX_FAILURES = 0.1
# Frames of a clip of a plain network.  With FFN.ENABLE see FFN.NUM_FRAMES.
_C.DATA.NUM_FRAMES = 8
# Stride between frames at the highest rate of a dense clip, in frames of a TARGET_FPS video.
_C.DATA.SAMPLING_RATE = 8
# Frame rate that SAMPLING_RATE refers to, in frames per second.
_C.DATA.TARGET_FPS = 30
# Where a clip's frames come from: `dense` (one span of NUM_FRAMES x SAMPLING_RATE frames,
# Kinetics), `segment` (one frame per equal segment of the video, Something-Something) or `auto`
# (as the data set's catalogue entry says).  To repeat published numbers, quirks included, a rule of
# slowfast/datasets/published.py: pyslowfast, pyslowfast_trimmed, pyslowfast_ssv2, charades, tsn,
# sth_ffn, mmaction_segment, mmaction_dense or frameexit.
_C.DATA.SAMPLING = "auto"
# Test clips of `pyslowfast` at whole steps up to the video's end; `dense` reaches it anyway.
_C.DATA.USE_OFFSET_SAMPLING = False
# Network input mean and standard deviation per channel (of pixels / 255).
_C.DATA.MEAN = [0.45, 0.45, 0.45]
_C.DATA.STD = [0.225, 0.225, 0.225]
# Colour channels per pathway; always 3 here, the key is for PySlowFast's files.
_C.DATA.INPUT_CHANNEL_NUM = [3, 3]
# Which crops: `auto` cuts them out of the source frames; test crops span the short side, and one is
# the centre.  To repeat published numbers, quirks included: `pyslowfast` (frames resized first; one
# test crop comes from frames whose short side is TRAIN_JITTER_SCALES[0]; validation crops at
# random), `sth_ffn` (the same, but one test crop spans the short side, at the left or top), `tsn`
# (TSN, TSM: multi-scale crops; one test crop of 224 from a short side of 256), `frameexit` (ours).
_C.DATA.CROPS = "auto"
# Range of the random short side in training, in pixels.
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Instead of it, training crops with a share of the frame's area in this range, [0.08, 1.0] in
# Inception's recipe; [] draws the short side.
_C.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
# Their width over height; [] is [0.75, 1.3333].
_C.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
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
# Decoder of video files: pyav, or torchcodec (an optional package, which conceals damaged frames).
_C.DATA.DECODING_BACKEND = "pyav"
# Names of the images where a video is a folder of them, as in img_{:05d}.jpg, numbered from 0 or 1;
# "" finds out.
_C.DATA.IMAGE_TEMPLATE = ""
# Frame rate of such folders, in frames per second (ours).
_C.DATA.IMAGE_FPS = 30.0
# Shrink frames to this short side while decoding, in pixels; 0 keeps their size (ours).
_C.DATA.DECODE_SHORT_SIDE = 0
# Keep decoded videos in memory up to this many GB per loader process; 0 decodes anew (ours).
_C.DATA.CACHE_GB = 0.0
# How the scores of a video's views become one: sum or max.
_C.DATA.ENSEMBLE_METHOD = "sum"

_C.AUG = CfgNode()
# Change the pixels of training samples as the keys below say.
_C.AUG.ENABLE = False
# RandAugment, `rand-m7-n4-mstd0.5-inc1`: 4 operations of magnitude 7 (10 at most) with a deviation
# of 0.5; "" is none.
_C.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
# Its interpolation: bicubic or bilinear.
_C.AUG.INTERPOLATION = "bicubic"
# Strength of random brightness, contrast and saturation; as in PySlowFast only with AA_TYPE "".
_C.AUG.COLOR_JITTER = 0.4
# Strength of the random hue beside it, 0 to 0.5 (ours).
_C.AUG.COLOR_HUE = 0.0
# Share of the samples of which rectangles are erased.
_C.AUG.RE_PROB = 0.25
# What covers them: pixel (noise), rand (a random colour per frame) or const (the mean colour).
_C.AUG.RE_MODE = "pixel"
# The most rectangles.
_C.AUG.RE_COUNT = 1
# Augmented copies of each clip, decoded once: TRAIN.BATCH_SIZE videos make this many times as many.
# Does not need AUG.ENABLE.
_C.AUG.NUM_SAMPLE = 1

_C.MIXUP = CfgNode()
# Mix training samples and their labels in pairs, with one draw for a batch and all its rates.
_C.MIXUP.ENABLE = False
# Strength of mixup; 0 leaves CutMix alone.
_C.MIXUP.ALPHA = 0.8
# Strength of CutMix; 0 leaves mixup alone.
_C.MIXUP.CUTMIX_ALPHA = 1.0
# Share of the batches that are mixed.
_C.MIXUP.PROB = 1.0
# Share of CutMix among them.
_C.MIXUP.SWITCH_PROB = 0.5
# Label smoothing of all batches, in the place of OBJECTIVE.LABEL_SMOOTHING.
_C.MIXUP.LABEL_SMOOTH_VALUE = 0.1

_C.DATA_LOADER = CfgNode()
# Worker processes per loader; 0 loads in the main process.
_C.DATA_LOADER.NUM_WORKERS = 8
# Batches that each worker has ready before they are asked for (ours).
_C.DATA_LOADER.PREFETCH_FACTOR = 2
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
