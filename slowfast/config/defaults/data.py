"""Keys of data, augmentation and loaders."""

from slowfast.config.node import CfgNode

KEYS = CfgNode()

# ---------------------------------------------------------------------------- data
KEYS.DATA = CfgNode()
# Folder of train.csv, val.csv and test.csv (test falls back to val), or of the published lists.
KEYS.DATA.PATH_TO_DATA_DIR = ""
# Put before every path of the lists.
KEYS.DATA.PATH_PREFIX = ""
# Between path and label in the lists; another one is found out.
KEYS.DATA.PATH_LABEL_SEPARATOR = " "
# Name of the list of a split, with {} for the split, as in somesomev1_rgb_{}_split.txt; "" knows
# the published names.
KEYS.DATA.LABEL_PATH_TEMPLATE = ""
# What `tools/data.py check` found out, in PATH_TO_DATA_DIR: videos that it could not read are not
# tried again while their files stay as they are.  "" tries all (ours).
KEYS.DATA.MANIFEST = "manifest.jsonl"
# Stop training when more videos than this cannot be read in an epoch: below 1 it is a share of the
# list, from 1 on a number of videos (ours).
KEYS.DATA.MAX_FAILURES = 0.1
# Frames of a clip of a plain network.  With FFN.ENABLE see FFN.NUM_FRAMES.
KEYS.DATA.NUM_FRAMES = 8
# Stride between frames at the highest rate of a dense clip, in frames of a TARGET_FPS video.
KEYS.DATA.SAMPLING_RATE = 8
# Frame rate that SAMPLING_RATE refers to, in frames per second.
KEYS.DATA.TARGET_FPS = 30
# Where a clip's frames come from: `dense` (one span of NUM_FRAMES x SAMPLING_RATE frames,
# Kinetics), `segment` (one frame per equal segment of the video, Something-Something), `clips`
# (FRAME_EXIT.CLIP_LENGTH frames at SAMPLING_RATE in each equal segment) or `auto` (as the data
# set's catalogue entry says).  To repeat published numbers, quirks included, a rule of
# slowfast/datasets/published.py: pyslowfast, pyslowfast_trimmed, pyslowfast_ssv2, charades, tsn,
# sth_ffn, mmaction_segment, mmaction_dense or frameexit.
KEYS.DATA.SAMPLING = "auto"
# Test clips of `pyslowfast` at whole steps up to the video's end; `dense` reaches it anyway.
KEYS.DATA.USE_OFFSET_SAMPLING = False
# Network input mean and standard deviation per channel (of pixels / 255).
KEYS.DATA.MEAN = [0.45, 0.45, 0.45]
KEYS.DATA.STD = [0.225, 0.225, 0.225]
# Colour channels per pathway; always 3 here, the key is for PySlowFast's files.
KEYS.DATA.INPUT_CHANNEL_NUM = [3, 3]
# Which crops: `auto` cuts them out of the source frames; test crops span the short side, and one is
# the centre.  To repeat published numbers, quirks included: `pyslowfast` (frames resized first; one
# test crop comes from frames whose short side is TRAIN_JITTER_SCALES[0]; validation crops at
# random), `sth_ffn` (the same, but one test crop spans the short side, at the left or top), `tsn`
# (TSN, TSM: multi-scale crops; one test crop of 224 from a short side of 256), `frameexit` (ours).
KEYS.DATA.CROPS = "auto"
# Range of the random short side in training, in pixels.
KEYS.DATA.TRAIN_JITTER_SCALES = [256, 320]
# Instead of it, training crops with a share of the frame's area in this range, [0.08, 1.0] in
# Inception's recipe; [] draws the short side.
KEYS.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
# Their width over height; [] is [0.75, 1.3333].
KEYS.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
# Draw the short side uniformly in 1/size instead of size.
KEYS.DATA.INV_UNIFORM_SAMPLE = False
# Side of the training crop, in pixels.
KEYS.DATA.TRAIN_CROP_SIZE = 224
# Side of the validation and test crop, in pixels.
KEYS.DATA.TEST_CROP_SIZE = 256
# Mirror half of the training samples.  An error on data sets whose classes have a direction.
KEYS.DATA.RANDOM_FLIP = True
# Give the network BGR instead of RGB.  The originals' key reverses what they read, BGR of images.
KEYS.DATA.REVERSE_INPUT_CHANNEL = False
# Decoder of video files: pyav, or torchcodec (an optional package, which conceals damaged frames).
KEYS.DATA.DECODING_BACKEND = "pyav"
# Names of the images where a video is a folder of them, as in img_{:05d}.jpg; "" finds out.
KEYS.DATA.IMAGE_TEMPLATE = ""
# Number of their first image, 0 or more; -1 finds out whether it is 0 or 1 (ours).
KEYS.DATA.IMAGE_START = -1
# Frame rate of such folders, in frames per second (ours).
KEYS.DATA.IMAGE_FPS = 30.0
# Shrink frames to this short side while decoding, in pixels; 0 keeps their size (ours).
KEYS.DATA.DECODE_SHORT_SIDE = 0
# Keep decoded videos in memory up to this many GB per loader process; 0 decodes anew (ours).
KEYS.DATA.CACHE_GB = 0.0
# How the scores of a video's views become one: sum or max.
KEYS.DATA.ENSEMBLE_METHOD = "sum"

KEYS.AUG = CfgNode()
# Change the pixels of training samples as the keys below say.
KEYS.AUG.ENABLE = False
# RandAugment, `rand-m7-n4-mstd0.5-inc1`: 4 operations of magnitude 7 (10 at most) with a deviation
# of 0.5; "" is none.
KEYS.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
# Its interpolation: bicubic or bilinear.
KEYS.AUG.INTERPOLATION = "bicubic"
# Strength of random brightness, contrast and saturation; as in PySlowFast only with AA_TYPE "".
KEYS.AUG.COLOR_JITTER = 0.4
# Strength of the random hue beside it, 0 to 0.5 (ours).
KEYS.AUG.COLOR_HUE = 0.0
# Share of the samples of which rectangles are erased.
KEYS.AUG.RE_PROB = 0.25
# What covers them: pixel (noise), rand (a random colour per frame) or const (the mean colour).
KEYS.AUG.RE_MODE = "pixel"
# The most rectangles.
KEYS.AUG.RE_COUNT = 1
# Augmented copies of each clip, decoded once: TRAIN.BATCH_SIZE videos make this many times as many.
# Does not need AUG.ENABLE.
KEYS.AUG.NUM_SAMPLE = 1

KEYS.MIXUP = CfgNode()
# Mix training samples and their labels in pairs, with one draw for a batch and all its rates.
KEYS.MIXUP.ENABLE = False
# Strength of mixup; 0 leaves CutMix alone.
KEYS.MIXUP.ALPHA = 0.8
# Strength of CutMix; 0 leaves mixup alone.
KEYS.MIXUP.CUTMIX_ALPHA = 1.0
# Share of the batches that are mixed.
KEYS.MIXUP.PROB = 1.0
# Share of CutMix among them.
KEYS.MIXUP.SWITCH_PROB = 0.5
# Label smoothing of all batches, in the place of OBJECTIVE.LABEL_SMOOTHING.
KEYS.MIXUP.LABEL_SMOOTH_VALUE = 0.1

KEYS.DATA_LOADER = CfgNode()
# Worker processes per loader; 0 loads in the main process.
KEYS.DATA_LOADER.NUM_WORKERS = 8
# Batches that each worker has ready before they are asked for (ours).
KEYS.DATA_LOADER.PREFETCH_FACTOR = 2
# Page-locked batches for faster copies to a GPU.
KEYS.DATA_LOADER.PIN_MEMORY = True
