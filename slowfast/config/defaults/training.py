"""Keys of frame flexibility, objectives, norms, training, testing and the run."""

from slowfast.config.node import CfgNode

KEYS = CfgNode()

# ---------------------------------------------------------------------------- frame flexibility
KEYS.FFN = CfgNode()
# Convert the network to a frame-flexible one (FFN, CVPR 2023): private norms and gains per rate.
KEYS.FFN.ENABLE = False
# Trained frame counts, rising, two or more.  Replaces DATA.NUM_FRAMES when FFN.ENABLE.
KEYS.FFN.NUM_FRAMES = [4, 8, 16]
# Sizes in pixels, rising, at each of which every frame count is trained too, with private layers
# per pair (ours); the clips of DATA.TRAIN_CROP_SIZE are resized to them.  [] trains frame counts.
KEYS.FFN.SIZES = []
# Checkpoint labels of the private layers, one per count, or per pair of count and size, those of
# fewer pixels first; [] uses the counts themselves (4) or the pairs (4x112).  The published
# SlowFast-FFN stores its 16/32/64-frame copies under ["4", "8", "16"].
KEYS.FFN.TAGS = []
# Turn the network's weight-alteration marks into per-rate gains (off in the published TEA-FFN).
KEYS.FFN.ALTER = True
# Training frames of the lower rates: `independent` draws each rate anew (as published), `nested`
# picks them among the frames of the next higher rate, so that fewer frames are decoded.
KEYS.FFN.SAMPLING = "independent"
# Weight of the distillation terms.
KEYS.FFN.LAMBDA = 1.0
# Softmax temperature of the distillation terms; their gradient scale is kept by a factor t^2.
KEYS.FFN.TEMPERATURE = 1.0
# What the rates learn from: `teacher` (highest from labels, others from the highest, as published),
# `mutual` (labels and each other) or `labels` (labels only).
KEYS.FFN.DISTILL = "teacher"
# `per_rate` back-propagates each rate before the next one runs (memory of one rate, same gradient),
# `joint` sums the losses first, as the original does.  `mutual` needs `joint`.
KEYS.FFN.BACKWARD = "per_rate"
# Private layers that test an untrained frame count: those of the `nearest` trained one (as
# published), `interpolated` between the two around it, nearest's `recalibrated` on clips of that
# count, or `interpolated_recalibrated`.
KEYS.FFN.ANY_FRAME = "nearest"
# Unlabelled training clips per frame count that `recalibrated` takes BatchNorm statistics from.
KEYS.FFN.RECALIBRATION_CLIPS = 256

# ---------------------------------------------------------------------------- objective (ours)
KEYS.OBJECTIVE = CfgNode()
# Training objective by registered name; `auto` is `ffn` when FFN.ENABLE, `early_exit` for
# FrameExit, else `classify`.
KEYS.OBJECTIVE.NAME = "auto"
# Label smoothing of the cross-entropy, 0 to 1.
KEYS.OBJECTIVE.LABEL_SMOOTHING = 0.0

KEYS.DISTILL = CfgNode()
# YAML of the teacher of OBJECTIVE.NAME distill; its data and training do not matter (ours).
KEYS.DISTILL.TEACHER_CFG = ""
# Checkpoint of the teacher (ours).
KEYS.DISTILL.TEACHER_WEIGHTS = ""
# Height and width to which the network's clips are resized, while the teacher sees those of
# DATA.TRAIN_CROP_SIZE; 0 shows both the same (ours).
KEYS.DISTILL.STUDENT_SIZE = 0
# What both are compared in: feature_mse (last maps of features), location_kl (logits of each place
# of these maps) or logit_kl (logits).  The last two take networks with the same classes (ours).
KEYS.DISTILL.LOSS = "feature_mse"
# Weight of that loss; 100 is published for feature_mse, 200 for location_kl (ours).
KEYS.DISTILL.WEIGHT = 100.0
# Softmax temperature of the last two; their gradient scale is kept by a factor t^2 (ours).
KEYS.DISTILL.TEMPERATURE = 2.0
# train: the teacher's norms take the statistics of the batch, and its layers drop, as published;
# eval: it is as in testing (ours).
KEYS.DISTILL.TEACHER_MODE = "train"

KEYS.BN = CfgNode()
# Weight decay of BatchNorm parameters.
KEYS.BN.WEIGHT_DECAY = 0.0
# What a batch is to BatchNorm in training: `batchnorm` one process's videos, `sub_batchnorm` each
# of NUM_SPLITS parts of them, `sync_batchnorm` those of NUM_SYNC_DEVICES processes together.
KEYS.BN.NORM_TYPE = "batchnorm"
# Parts of sub_batchnorm.
KEYS.BN.NUM_SPLITS = 1
# Processes that share the statistics of sync_batchnorm, neighbours in rank; 0 is all, as is a
# number that exceeds them.
KEYS.BN.NUM_SYNC_DEVICES = 0
# Estimate the running statistics of every rate anew before each validation and each checkpoint
# between epochs: exact ones of NUM_BATCHES_PRECISE training batches.
KEYS.BN.USE_PRECISE_STATS = False
KEYS.BN.NUM_BATCHES_PRECISE = 200

# ---------------------------------------------------------------------------- training
KEYS.TRAIN = CfgNode()
# Train.
KEYS.TRAIN.ENABLE = True
# Data set by catalogue name.
KEYS.TRAIN.DATASET = "kinetics"
# Videos per step of the optimiser, those of all processes together.
KEYS.TRAIN.BATCH_SIZE = 64
# Parts that a process back-propagates one after the other before the step: their memory, the
# gradient of the whole (BatchNorm sees the parts) (ours).
KEYS.TRAIN.MICRO_BATCHES = 1
# Validate every rate each this many epochs, and after the last.
KEYS.TRAIN.EVAL_PERIOD = 10
# Write a checkpoint each this many epochs, and after the last.
KEYS.TRAIN.CHECKPOINT_PERIOD = 10
# Also each this many steps within an epoch; 0 is never (ours).
KEYS.TRAIN.CHECKPOINT_STEPS = 0
# Write checkpoints in the background: training waits for the copy alone, never for the disk.  Takes
# main memory for up to three copies of weights, optimiser and averages (ours).
KEYS.TRAIN.CHECKPOINT_BACKGROUND = False
# Keep this many newest checkpoints, beside the best (ours).
KEYS.TRAIN.KEEP_CHECKPOINTS = 3
# Continue from the newest checkpoint in OUTPUT_DIR.
KEYS.TRAIN.AUTO_RESUME = True
# Weights to start from.
KEYS.TRAIN.CHECKPOINT_FILE_PATH = ""
# Read nothing else from that file; False goes on with its epoch and optimiser, where it has them.
KEYS.TRAIN.CHECKPOINT_EPOCH_RESET = True
# Load CHECKPOINT_FILE_PATH although its classifier has another number of classes (ours).
KEYS.TRAIN.CHECKPOINT_NEW_HEAD = False
# Mixed-precision forward pass.
KEYS.TRAIN.MIXED_PRECISION = False
# Its number format: bf16 or fp16 (with loss scaling) (ours).
KEYS.TRAIN.AMP_DTYPE = "bf16"
# Average of the weights that is validated and kept as the best: this share of it stays in each
# step, 0.9999 in many recipes; 0 keeps none (ours).
KEYS.TRAIN.EMA_DECAY = 0.0
# Compile the network with torch.compile, a graph per rate (ours).
KEYS.TRAIN.COMPILE = False
# Leave out at most this many steps of a run whose loss or gradient is not finite; one more, or 0,
# stops it (ours).
KEYS.TRAIN.SKIP_NONFINITE = 0
# Stop when the loss is more than this many times its running mean; 0 never does (ours).
KEYS.TRAIN.MAX_LOSS_FACTOR = 0.0

# ---------------------------------------------------------------------------- testing
KEYS.TEST = CfgNode()
# Test after training.
KEYS.TEST.ENABLE = True
# Data set by catalogue name.
KEYS.TEST.DATASET = "kinetics"
# Videos per step of one process; each brings all its views.
KEYS.TEST.BATCH_SIZE = 8
# Weights to test; "" is the last checkpoint in OUTPUT_DIR, else TRAIN.CHECKPOINT_FILE_PATH.
KEYS.TEST.CHECKPOINT_FILE_PATH = ""
# Frame counts to test, trained or not; [] tests the trained ones (ours).
KEYS.TEST.NUM_FRAMES = []
# Sizes in pixels at which each frame count is tested, resized from DATA.TEST_CROP_SIZE; [] tests
# those of FFN.SIZES (ours).
KEYS.TEST.SIZES = []
# Clips along time per video.
KEYS.TEST.NUM_ENSEMBLE_VIEWS = 10
# Crops per clip: 1 (centre) or 3 (left, centre, right).
KEYS.TEST.NUM_SPATIAL_CROPS = 3
# Test conditional inference, too: with `gates` a video shows no more frames once a gate of
# FrameExit is sure, with `rates` it shows those of the next trained frame count of a flexible
# network while its scores are unsure; `none` does not (ours, as all of EXIT).
KEYS.TEST.EXIT = "none"
# Thresholds of the exits are chosen on the validation videos: the cheapest with this metric in
# percent; 0 and below count from the metric without exits, -1 may lose one point of it.
KEYS.TEST.EXIT_TARGET = None
# Or the most accurate thresholds for this mean cost of a video, in GFLOPs (multiply-adds).
KEYS.TEST.EXIT_BUDGET = None
# Or given ones, one per exit but the last, which is taken where none before is above its own; 1
# never.  [], no target and no budget take those of FRAME_EXIT.
KEYS.TEST.EXIT_THRESHOLDS = []

# ---------------------------------------------------------------------------- optimisation
KEYS.SOLVER = CfgNode()
# sgd, adam or adamw.
KEYS.SOLVER.OPTIMIZING_METHOD = "sgd"
# Learning rate before schedule and warm-up.
KEYS.SOLVER.BASE_LR = 0.1
# cosine or steps_with_relative_lrs.
KEYS.SOLVER.LR_POLICY = "cosine"
# Learning rate at the end of the cosine.
KEYS.SOLVER.COSINE_END_LR = 0.0
# Start the cosine at the end of the warm-up instead of at epoch 0.
KEYS.SOLVER.COSINE_AFTER_WARMUP = False
# Epochs at which steps_with_relative_lrs changes; the first is 0.
KEYS.SOLVER.STEPS = []
# Learning rate from each step on, over BASE_LR.
KEYS.SOLVER.LRS = []
# Epochs of training.
KEYS.SOLVER.MAX_EPOCH = 300
# Epochs of linear warm-up; may be a fraction.
KEYS.SOLVER.WARMUP_EPOCHS = 0.0
# Learning rate at the start of the warm-up.
KEYS.SOLVER.WARMUP_START_LR = 0.01
# Momentum, dampening and Nesterov form of SGD.
KEYS.SOLVER.MOMENTUM = 0.9
KEYS.SOLVER.DAMPENING = 0.0
KEYS.SOLVER.NESTEROV = True
# Betas of Adam and AdamW.
KEYS.SOLVER.BETAS = [0.9, 0.999]
# Weight decay of all but BatchNorm (see BN.WEIGHT_DECAY) and what the next key exempts.
KEYS.SOLVER.WEIGHT_DECAY = 1e-4
# No weight decay for biases and other one-dimensional parameters.
KEYS.SOLVER.ZERO_WD_1D_PARAM = False
# Nor for parameters with one of these in their names (ours).
KEYS.SOLVER.NO_WEIGHT_DECAY = []
# Factor on the learning rate from each layer to the one below it; 1.0 trains all alike.
KEYS.SOLVER.LAYER_DECAY = 1.0
# Factor on the learning rate of all biases but those of norms (ours).
KEYS.SOLVER.BIAS_LR_SCALE = 1.0
# Factor on the learning rate of the classifier's weight and, with the one before, bias (ours).
KEYS.SOLVER.CLASSIFIER_LR_SCALE = 1.0
# Videos per step that the learning rates are meant for; they are scaled by TRAIN.BATCH_SIZE over
# this number.  0 takes them as they are (ours).
KEYS.SOLVER.REFERENCE_BATCH_SIZE = 0
# Clip each gradient entry to this magnitude; None is off.
KEYS.SOLVER.CLIP_GRAD_VAL = None
# Clip the norm of the whole gradient to this; None is off.
KEYS.SOLVER.CLIP_GRAD_L2NORM = None

KEYS.MULTIGRID = CfgNode()
# Multigrid training (CVPR 2020).  Long cycle: within each of SOLVER.STEPS, epochs of small clips in
# large batches, then of larger clips in smaller ones.  SOLVER.STEPS, LRS and MAX_EPOCH follow it.
KEYS.MULTIGRID.LONG_CYCLE = False
# Short cycle: neighbouring batches of an epoch differ in crop and number of videos.
KEYS.MULTIGRID.SHORT_CYCLE = False
# Parts of frames and crop size in the long cycle, in the order of training.  Frame counts of
# FFN.NUM_FRAMES stay as they are.
KEYS.MULTIGRID.LONG_CYCLE_FACTORS = [[0.25, 0.5**0.5], [0.5, 0.5**0.5], [0.5, 1.0], [1.0, 1.0]]
# Parts of DATA.TRAIN_CROP_SIZE in the short cycle, before a batch of the long cycle's crop.
KEYS.MULTIGRID.SHORT_CYCLE_FACTORS = [0.5, 0.5**0.5]
# Epochs over SOLVER.MAX_EPOCH.
KEYS.MULTIGRID.EPOCH_FACTOR = 1.5
# Videos that share BatchNorm statistics in the long cycle: batches are split among, or synchronised
# between, processes accordingly; 0 leaves BN as it is.
KEYS.MULTIGRID.BN_BASE_SIZE = 8
# Validations in the epochs of each shape of the long cycle, instead of TRAIN.EVAL_PERIOD.
KEYS.MULTIGRID.EVAL_FREQ = 3

# ---------------------------------------------------------------------------- run
KEYS.TENSORBOARD = CfgNode()
# Write TensorBoard scalars to OUTPUT_DIR/tensorboard.
KEYS.TENSORBOARD.ENABLE = False

KEYS.DIST = CfgNode()
# Between processes: nccl, gloo, or auto (nccl on GPUs, else gloo).
KEYS.DIST.BACKEND = "auto"
# Minutes after which a process that waits for the others gives up (ours).
KEYS.DIST.TIMEOUT = 30.0
# `ddp` keeps the network whole in every process, `fsdp` splits weights, gradients and optimiser
# among them (FSDP2; transformer networks) (ours).
KEYS.DIST.STRATEGY = "ddp"

# Processes on this machine, a GPU each; where there are no GPUs they run on the CPU, with a log
# line.  0 and 1 are one process, 0 on the CPU.  Under torchrun and SLURM these count instead.
KEYS.NUM_GPUS = 1
# Threads of the CPU computation; 0 leaves PyTorch's choice (ours).
KEYS.NUM_THREADS = 0
# Everything of a run goes here.
KEYS.OUTPUT_DIR = "."
# Seed of initialisation, sampling and augmentation.
KEYS.RNG_SEED = 1
# Steps between two log records.
KEYS.LOG_PERIOD = 10
