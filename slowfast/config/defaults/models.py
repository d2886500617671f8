"""Keys of the networks."""

from slowfast.config.node import CfgNode

KEYS = CfgNode()

# ---------------------------------------------------------------------------- model
KEYS.MODEL = CfgNode()
# Registered network, one of slowfast.models.MODELS.names.
KEYS.MODEL.MODEL_NAME = "SlowFast"
# Architecture within the network's family, checked against it; "" takes the family's default.
KEYS.MODEL.ARCH = ""
# Number of classes; labels are 0 .. NUM_CLASSES - 1.
KEYS.MODEL.NUM_CLASSES = 400
# Dropout before the classifier.
KEYS.MODEL.DROPOUT_RATE = 0.5
# Probability in training to drop a residual block of X3D's last stage, 2/5 of it at the first;
# PySlowFast has the key but never drops.
KEYS.MODEL.DROPCONNECT_RATE = 0.0
# Standard deviation of the classifier's initial weights.
KEYS.MODEL.FC_INIT_STD = 0.01
# Loss of the labels: cross_entropy; where videos have several labels, bce_logit (each class by
# itself) or soft_cross_entropy (the labels of a video share its probability).
KEYS.MODEL.LOSS_FUNC = "cross_entropy"
# Turns logits into scores at test time: softmax, sigmoid or none.
KEYS.MODEL.HEAD_ACT = "softmax"
# Train the classifier alone, on features of the network as it is in testing (linear probe).
KEYS.MODEL.DETACH_FINAL_FC = False
# BatchNorm takes its running statistics in training too, and keeps them.
KEYS.MODEL.FROZEN_BN = False
# Recompute activations in the backward pass instead of keeping them: less memory, more time.
KEYS.MODEL.ACT_CHECKPOINT = False

KEYS.RESNET = CfgNode()
# Depth of the residual network: 18, 34, 50, 101 or 152, or those of them that the network has.
KEYS.RESNET.DEPTH = 50
# Width of the stem; stages are 4, 8, 16, 32 times as wide (1, 2, 4, 8 for depth 18).
KEYS.RESNET.WIDTH_PER_GROUP = 64
# Groups of the 3x3 convolutions.
KEYS.RESNET.NUM_GROUPS = 1
# Zero the last norm of every residual block, so that blocks start as identity.
KEYS.RESNET.ZERO_INIT_FINAL_BN = False
# Residual block: bottleneck_transform, basic_transform or x3d_transform (X3D).
KEYS.RESNET.TRANS_FUNC = "bottleneck_transform"
# Put a block's spatial stride on its first 1x1 convolution instead of its 3x3.
KEYS.RESNET.STRIDE_1X1 = False
# Per stage and pathway, how many blocks (from the first) keep the stage's temporal kernel.  Here
# and in all lists like it, the last entry of a stage serves the pathways that have none.
KEYS.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]
# Spatial stride per stage and pathway.
KEYS.RESNET.SPATIAL_STRIDES = [[1], [2], [2], [2]]
# Spatial dilation of the 3x3 convolutions per stage and pathway.
KEYS.RESNET.SPATIAL_DILATIONS = [[1], [1], [1], [1]]

KEYS.NONLOCAL = CfgNode()
# Per stage and pathway, the residual blocks, counted from 0, behind which a non-local block stands.
KEYS.NONLOCAL.LOCATION = [[[]], [[]], [[]], [[]]]
# Per stage and pathway, the groups of frames that do not see each other.
KEYS.NONLOCAL.GROUP = [[1], [1], [1], [1]]
# Per stage and pathway, frames, height and width pooled to one position to look at.
KEYS.NONLOCAL.POOL = [
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
    [[1, 2, 2], [1, 2, 2]],
]
# What makes similarities weights: softmax, or dot_product (over the number of positions).
KEYS.NONLOCAL.INSTANTIATION = "dot_product"

KEYS.SLOWFAST = CfgNode()
# Fast frames per slow frame (alpha).
KEYS.SLOWFAST.ALPHA = 8
# Slow channels per fast channel (1 / beta).
KEYS.SLOWFAST.BETA_INV = 8
# Channels of a lateral connection over those of its fast stage.
KEYS.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2
# Temporal kernel of the lateral convolutions.
KEYS.SLOWFAST.FUSION_KERNEL_SZ = 5

KEYS.X3D = CfgNode()
# Channels of the stem before WIDTH_FACTOR.
KEYS.X3D.DIM_C1 = 12
# Widen the first stage over the stem.
KEYS.X3D.SCALE_RES2 = False
# Norm behind the head's pooling.
KEYS.X3D.BN_LIN5 = False
# Channels before the classifier.
KEYS.X3D.DIM_C5 = 2048
# 3x3x3 convolutions within each channel; False works in RESNET.NUM_GROUPS groups.
KEYS.X3D.CHANNELWISE_3x3x3 = True
# Factor on all widths; 2.0 in XS, S, M and L.
KEYS.X3D.WIDTH_FACTOR = 1.0
# Factor on the 1, 2, 5 and 3 blocks of the stages; 2.2 in XS, S and M, 5.0 in L.
KEYS.X3D.DEPTH_FACTOR = 1.0
# Width inside a block over the one outside; 2.25 in XS, S, M and L.
KEYS.X3D.BOTTLENECK_FACTOR = 1.0

KEYS.MVIT = CfgNode()
# Blocks.
KEYS.MVIT.DEPTH = 16
# Channels of the first block.
KEYS.MVIT.EMBED_DIM = 96
# Attention heads of the first block.
KEYS.MVIT.NUM_HEADS = 1
# Hidden width of the MLPs over their input's.
KEYS.MVIT.MLP_RATIO = 4.0
# Bias in the query, key and value projections.
KEYS.MVIT.QKV_BIAS = True
# Patches: kernel, stride and padding along time, height and width.
KEYS.MVIT.PATCH_KERNEL = [3, 7, 7]
KEYS.MVIT.PATCH_STRIDE = [2, 4, 4]
KEYS.MVIT.PATCH_PADDING = [2, 4, 4]
# Patches of each frame by itself; the three keys above then hold height and width only.
KEYS.MVIT.PATCH_2D = False
# Factors on the width, [[block, factor], ...]: at the end of the block before, or see the next key.
KEYS.MVIT.DIM_MUL = []
# Widen in the attention of the block named (MViTv2) instead of the MLP of the one before it.
KEYS.MVIT.DIM_MUL_IN_ATT = False
# Factors on the heads, [[block, factor], ...].
KEYS.MVIT.HEAD_MUL = []
# How queries, keys and values are pooled: conv, avg or max.
KEYS.MVIT.MODE = "conv"
# Pool before the linear layers of the attention instead of behind them.
KEYS.MVIT.POOL_FIRST = False
# Three linear layers for queries, keys and values instead of one.
KEYS.MVIT.SEPARATE_QKV = False
# Kernel of all pooling, odd, along time, height and width; None takes stride + 1.
KEYS.MVIT.POOL_KVQ_KERNEL = None
# Strides of the queries, [[block, time, height, width], ...]; other blocks do not pool them.
KEYS.MVIT.POOL_Q_STRIDE = []
# Strides of keys and values, [[block, time, height, width], ...].
KEYS.MVIT.POOL_KV_STRIDE = []
# Instead of these a stride for the first block, which every stride of the queries divides; None
# leaves it to POOL_KV_STRIDE.
KEYS.MVIT.POOL_KV_STRIDE_ADAPTIVE = None
# Add the pooled queries to the output of the attention.
KEYS.MVIT.RESIDUAL_POOLING = False
# Classify a class token instead of the mean of all tokens.
KEYS.MVIT.CLS_EMBED_ON = True
# Classify the mean of all other tokens, normed after it, with a class token too.
KEYS.MVIT.USE_MEAN_POOLING = False
# Learn embeddings of absolute positions, for DATA.TRAIN_CROP_SIZE and the most frames trained.
KEYS.MVIT.USE_ABS_POS = True
# One table for time and one for space instead of one for both.
KEYS.MVIT.SEP_POS_EMBED = False
# Sines and cosines that do not learn in the place of the table.
KEYS.MVIT.USE_FIXED_SINCOS_POS = False
# Embeddings of relative positions in height and width, and in time.
KEYS.MVIT.REL_POS_SPATIAL = False
KEYS.MVIT.REL_POS_TEMPORAL = False
# Start them from zero.
KEYS.MVIT.REL_POS_ZERO_INIT = False
# No weight decay for embeddings of positions and the class token.
KEYS.MVIT.ZERO_DECAY_POS_CLS = True
# Norm behind the patches.
KEYS.MVIT.NORM_STEM = False
# Dropout of patches, MLPs and projections.
KEYS.MVIT.DROPOUT_RATE = 0.0
# Stochastic depth at the last block; rises linearly from 0 at the first.
KEYS.MVIT.DROPPATH_RATE = 0.1
# Factor on the classifier's initial weights.
KEYS.MVIT.HEAD_INIT_SCALE = 1.0

KEYS.TIMM = CfgNode()
# Image network of timm, by timm's name (ours).
KEYS.TIMM.NAME = "efficientnet_b3"
# Start from timm's weights, which are downloaded (ours).
KEYS.TIMM.PRETRAINED = False
# Regular expression for the names of convolutions whose input is shifted in time, as in TSM; the
# first of each residual branch: layer.*\.conv1 in ResNets, blocks.*\.conv_pw in EfficientNets.
# "" shifts none (ours).
KEYS.TIMM.SHIFT = ""

KEYS.TSM = CfgNode()
# Blocks of a stage per one that shifts its input in time, counted from the first: 1 shifts in all,
# as FFN does; the original TSM takes 2 where a stage has 23 blocks or more (depths 101, 152)
# (ours).
KEYS.TSM.SHIFT_EVERY = 1
# One part in this many of the channels moves either way, 2 or more (ours).
KEYS.TSM.FOLD_DIV = 8

KEYS.FRAME_EXIT = CfgNode()
# Network that sees a single step, by registered name (ours, as all of FRAME_EXIT).  There are
# DATA.NUM_FRAMES / CLIP_LENGTH steps, each with an exit.
KEYS.FRAME_EXIT.BACKBONE = "TSN"
# Frames of a step: 1 for image networks.
KEYS.FRAME_EXIT.CLIP_LENGTH = 1
# They are as far apart as there are steps, so that each step sees all of the video, and not
# neighbours.
KEYS.FRAME_EXIT.SPREAD = False
# Features that are made of the backbone's for pooling; 0 pools the backbone's own.
KEYS.FRAME_EXIT.HIDDEN_DIM = 4096
# Widths of the two layers of a gate.
KEYS.FRAME_EXIT.GATE_DIMS = [128, 64]
# What is trained: classifiers (all but the gates), then gates (alone, on the weights of the stage
# before), or both joint, whereby gates do not change what they look at.
KEYS.FRAME_EXIT.STAGE = "classifiers"
# Gates learn to exit after t frames where the loss is below BETA x exp(t / 2): more is cheaper.
KEYS.FRAME_EXIT.BETA = 1e-4
# Score of a class above which a video takes the first exit, which has no gate; 1 never.
KEYS.FRAME_EXIT.FIRST_THRESHOLD = 0.99
# What a gate must be above, 0 to 1, for its exit to be taken.
KEYS.FRAME_EXIT.GATE_THRESHOLD = 0.5

KEYS.UNIFORMER = CfgNode()
# Blocks per stage: S is [3, 4, 8, 3], B is [5, 8, 20, 7].
KEYS.UNIFORMER.DEPTH = [3, 4, 8, 3]
# Channels per stage.
KEYS.UNIFORMER.EMBED_DIM = [64, 128, 320, 512]
# Channels per attention head.
KEYS.UNIFORMER.HEAD_DIM = 64
# Hidden width of the MLPs over their input's.
KEYS.UNIFORMER.MLP_RATIO = 4.0
# Bias in the query, key and value projections.
KEYS.UNIFORMER.QKV_BIAS = True
# Dropout in MLPs and projections.
KEYS.UNIFORMER.DROPOUT_RATE = 0.0
# Dropout of attention weights.
KEYS.UNIFORMER.ATTENTION_DROPOUT_RATE = 0.0
# Stochastic depth at the last block; rises linearly from 0 at the first.
KEYS.UNIFORMER.DROP_DEPTH_RATE = 0.1
# Overlapping 3-frame kernels in the patch embeddings of stages 2 to 4.
KEYS.UNIFORMER.STD = False

KEYS.VIDEO_SWIN = CfgNode()
# Frames, height and width of a patch.
KEYS.VIDEO_SWIN.PATCH_SIZE = [2, 4, 4]
# Channels of the first stage, doubled from stage to stage: 96 in T and S, 128 in B.
KEYS.VIDEO_SWIN.EMBED_DIM = 96
# Blocks per stage: T is [2, 2, 6, 2], S and B are [2, 2, 18, 2].
KEYS.VIDEO_SWIN.DEPTHS = [2, 2, 6, 2]
# Attention heads per stage: [3, 6, 12, 24] in T and S, [4, 8, 16, 32] in B.
KEYS.VIDEO_SWIN.NUM_HEADS = [3, 6, 12, 24]
# Frames, height and width of a window, in tokens; smaller where the map is.
KEYS.VIDEO_SWIN.WINDOW_SIZE = [8, 7, 7]
# Hidden width of the MLPs over their input's.
KEYS.VIDEO_SWIN.MLP_RATIO = 4.0
# Bias in the query, key and value projections.
KEYS.VIDEO_SWIN.QKV_BIAS = True
# Norm behind the patches.
KEYS.VIDEO_SWIN.PATCH_NORM = True
# Dropout of patches, MLPs and projections.
KEYS.VIDEO_SWIN.DROPOUT_RATE = 0.0
# Dropout of attention weights.
KEYS.VIDEO_SWIN.ATTENTION_DROPOUT_RATE = 0.0
# Stochastic depth at the last block; rises linearly from 0 at the first.
KEYS.VIDEO_SWIN.DROP_PATH_RATE = 0.1

KEYS.R2PLUS1D = CfgNode()
# Channels per stage (ours).
KEYS.R2PLUS1D.WIDTHS = [64, 128, 256, 512]
# Residual blocks per stage (ours).
KEYS.R2PLUS1D.BLOCKS = [2, 2, 2, 2]
