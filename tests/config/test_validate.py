import pytest

from slowfast.config import frame_counts, get_cfg, load_cfg
from slowfast.config.defaults import get_cfg as defaults
from slowfast.config.validate import check


def checked(*words):
    cfg = get_cfg()
    cfg.merge_from_list(list(words))
    check(cfg, "a.yaml")


def test_the_defaults_are_valid():
    check(defaults(), "defaults")


@pytest.mark.parametrize(
    "words, problem",
    [
        ("FFN.DISTILL techer", "must be teacher, mutual or labels; did you mean 'teacher'?"),
        ("FFN.SAMPLING nestd", "must be independent or nested; did you mean 'nested'?"),
        ("FFN.BACKWARD perrate", "did you mean 'per_rate'?"),
        ("SOLVER.LR_POLICY Cosine", "did you mean 'cosine'?"),
        ("SOLVER.OPTIMIZING_METHOD adan", "must be sgd, adam or adamw; did you mean 'adam'?"),
        ("MODEL.HEAD_ACT relu", "must be softmax, sigmoid or none"),
        ("DATA.ENSEMBLE_METHOD mean", "must be sum or max"),
        ("DATA.SAMPLING dens", "did you mean 'dense'?"),
        ("TRAIN.AMP_DTYPE fp8", "must be bf16 or fp16"),
        ("TEST.NUM_SPATIAL_CROPS 2", "must be 1 or 3"),
        ("RESNET.DEPTH 26", "must be 18, 34, 50, 101 or 152"),
        ("NUM_GPUS -1", "must be 0 or more"),
        ("DIST.BACKEND glo", "must be auto, gloo or nccl; did you mean 'gloo'?"),
        ("DIST.BACKEND nccl NUM_GPUS 0", "is for GPUs, and NUM_GPUS is 0"),
        ("DIST.STRATEGY fsdp2", "must be ddp or fsdp; did you mean 'fsdp'?"),
        ("DIST.TIMEOUT 0", "must be positive"),
        ("BN.NORM_TYPE syncbn", "must be batchnorm, sub_batchnorm or sync_batchnorm"),
        ("BN.NUM_SPLITS 0", "must be positive"),
        ("BN.NUM_SYNC_DEVICES -1", "must be 0 or more"),
        ("BN.NUM_BATCHES_PRECISE 0", "must be positive"),
        ("MODEL.FROZEN_BN True BN.USE_PRECISE_STATS True", "set one of them to False"),
        ("TRAIN.MICRO_BATCHES 0", "must be positive"),
        ("TRAIN.MICRO_BATCHES 65", "must not exceed TRAIN.BATCH_SIZE = 64"),
        ("TRAIN.CHECKPOINT_STEPS -1", "must be 0 or more"),
        ("TRAIN.EMA_DECAY 1.0", "must be at least 0 and below 1"),
        ("TRAIN.SKIP_NONFINITE -1", "must be 0 or more"),
        ("TRAIN.MAX_LOSS_FACTOR 0.5", "must be more than 1, or 0 for no limit"),
        ("SOLVER.LAYER_DECAY 1.1", "must be more than 0 and at most 1"),
        ("SOLVER.REFERENCE_BATCH_SIZE -256", "must be 0 or more"),
        ("TRAIN.BATCH_SIZE 0", "must be positive"),
        ("SOLVER.BASE_LR -0.1", "must be positive"),
        ("SOLVER.CLIP_GRAD_VAL abc", "must be positive"),
        ("TEST.NUM_FRAMES [8,0]", "must be positive"),
        ("DATA_LOADER.NUM_WORKERS -1", "must be 0 or more"),
        ("MODEL.DROPOUT_RATE 1.0", "must be at least 0 and below 1"),
        ("DATA.TRAIN_JITTER_SCALES [320,256]", "must be [smallest, largest] short side"),
        ("DATA.TRAIN_CROP_SIZE 257", "must not go below DATA.TRAIN_CROP_SIZE = 257"),
        ("DATA.INPUT_CHANNEL_NUM [3,2]", "must be all 3"),
        ("DATA.MEAN [0.5]", "must hold three numbers"),
        ("SOLVER.WARMUP_EPOCHS 301", "must not exceed SOLVER.MAX_EPOCH = 300"),
        ("RESNET.SPATIAL_STRIDES [[1],[2],[2]]", "must be four lists, one per stage"),
        ("RESNET.SPATIAL_DILATIONS [[1],[1],[],[1]]", "with an entry per pathway"),
        ("NONLOCAL.GROUP [[1],[1],[0],[1]]", "must be positive"),
        ("NONLOCAL.INSTANTIATION gaussian", "must be softmax or dot_product"),
        ("MVIT.MODE mean", "must be conv, avg or max"),
        ("MVIT.DIM_MUL [[1,2.0],[16,2.0]]", "[16, 2.0] must be [block, factor] with positive"),
        ("MVIT.HEAD_MUL [[1,0]]", "[1, 0] must be [block, factor] with positive"),
        ("MVIT.POOL_Q_STRIDE [[1,2,2]]", "[1, 2, 2] must be [block, time, height, width]"),
        ("MVIT.POOL_KVQ_KERNEL [3,3]", "must be [time, height, width] or None"),
        ("MVIT.POOL_KV_STRIDE_ADAPTIVE 8", "must be [time, height, width] or None"),
        ("MVIT.DROPPATH_RATE 1.0", "must be at least 0 and below 1"),
        ("MULTIGRID.LONG_CYCLE True", "set SOLVER.LR_POLICY steps_with_relative_lrs with two"),
        ("MULTIGRID.LONG_CYCLE_FACTORS [[0.5]]", "must hold pairs [part of the frames, part of"),
        ("MULTIGRID.LONG_CYCLE_FACTORS [[0.5,0]]", "must be more than 0 and at most 1"),
        ("MULTIGRID.SHORT_CYCLE_FACTORS [2]", "must be more than 0 and at most 1"),
        ("MULTIGRID.EPOCH_FACTOR 0", "must be positive"),
        ("MULTIGRID.BN_BASE_SIZE -1", "must be 0 or more"),
        ("FFN.ENABLE True FFN.NUM_FRAMES [8]", "must hold two counts or more"),
        ("FFN.ENABLE True FFN.NUM_FRAMES [8,4]", "must rise; got 4 after 8"),
        ("FFN.ENABLE True FFN.NUM_FRAMES [8,8]", "must rise; got 8 after 8"),
        ("FFN.ENABLE True FFN.TAGS ['4','8']", "must hold one label per count"),
        ("FFN.ENABLE True FFN.TAGS ['4','8','8']", "must differ from each other"),
        ("FFN.ENABLE True FFN.DISTILL mutual", "set FFN.BACKWARD joint"),
        ("FFN.ENABLE True FFN.SIZES [16,8]", "must rise; got 8 after 16"),
        ("FFN.ENABLE True FFN.SIZES [112,160]", "must end with DATA.TRAIN_CROP_SIZE = 224"),
        ("DATA.TEST_CROP_SIZE 224 TEST.SIZES [112,256]", "must not be below the sizes"),
        ("FFN.ENABLE True FFN.ANY_FRAME interpolated FFN.SIZES [112,224]", "set it to nearest"),
        ("FFN.ENABLE True OBJECTIVE.NAME distill FFN.SIZES [112,224]", "takes the objective ffn"),
    ],
)
def test_a_wrong_setting_is_refused_with_key_and_expectation(words, problem):
    key = words.split()[-2]
    with pytest.raises(ValueError) as error:
        checked(*words.split())
    message = str(error.value)
    assert message.startswith("a.yaml: ")
    assert key in message
    assert problem in message


@pytest.mark.parametrize(
    "steps, lrs, problem",
    [
        ("[1]", "[1]", "SOLVER.STEPS = [1] must start with 0 and rise"),
        ("[]", "[]", "SOLVER.STEPS = [] must start with 0 and rise"),
        ("[0, 9, 5]", "[1, 1, 1]", "SOLVER.STEPS = [0, 9, 5] must start with 0 and rise"),
        ("[0, 9]", "[1]", "one factor for each of SOLVER.STEPS = [0, 9]; got 1 for 2"),
    ],
)
def test_steps_that_do_not_fit_the_steps_policy_are_refused(steps, lrs, problem):
    policy = ["SOLVER.LR_POLICY", "steps_with_relative_lrs"]
    with pytest.raises(ValueError) as error:
        checked(*policy, "SOLVER.STEPS", steps, "SOLVER.LRS", lrs)
    assert problem in str(error.value)


def test_the_counts_of_a_switched_off_ffn_are_not_checked():
    checked("FFN.NUM_FRAMES", "[8]")


def test_mutual_distillation_is_accepted_with_a_joint_backward():
    checked("FFN.ENABLE", "True", "FFN.DISTILL", "mutual", "FFN.BACKWARD", "joint")


def test_all_problems_are_reported_at_once():
    with pytest.raises(ValueError) as error:
        checked("TRAIN.BATCH_SIZE", "0", "RESNET.DEPTH", "26")
    assert "TRAIN.BATCH_SIZE" in str(error.value) and "RESNET.DEPTH" in str(error.value)


def test_loading_checks_and_names_the_sources(write):
    path = write("a.yaml", "TRAIN: {BATCH_SIZE: 8}")
    with pytest.raises(ValueError) as error:
        load_cfg(path, ["TRAIN.BATCH_SIZE", "0"])
    assert str(error.value).startswith(f"{path} and the command line: TRAIN.BATCH_SIZE = 0")


def test_frame_counts_are_those_of_ffn_only_when_it_is_enabled():
    cfg = get_cfg()
    assert frame_counts(cfg) == (8,)
    cfg.FFN.ENABLE = True
    assert frame_counts(cfg) == (4, 8, 16)
