import logging

import pytest

from slowfast.config import get_cfg, load_cfg


@pytest.fixture
def log(caplog):
    """The lines logged so far."""
    caplog.set_level(logging.INFO, logger="slowfast.config")
    return lambda: [record.getMessage() for record in caplog.records]


def merged(*words):
    cfg = get_cfg()
    cfg.merge_from_list(list(words))
    return cfg


def test_the_originals_frame_counts_become_ffn_num_frames_low_to_high(log):
    cfg = merged("DATA.NUM_FRAMES_H", 64, "DATA.NUM_FRAMES_L", "16", "DATA.NUM_FRAMES_M", 32)
    assert cfg.FFN.ENABLE
    assert cfg.FFN.NUM_FRAMES == [16, 32, 64]
    assert len(log()) == 1


def test_other_counts_than_4_8_16_take_the_published_tags():
    cfg = merged("DATA.NUM_FRAMES_H", 64, "DATA.NUM_FRAMES_M", 32, "DATA.NUM_FRAMES_L", 16)
    assert cfg.FFN.TAGS == ["4", "8", "16"]


def test_counts_4_8_16_are_their_own_tags():
    cfg = merged("DATA.NUM_FRAMES_H", 16, "DATA.NUM_FRAMES_M", 8, "DATA.NUM_FRAMES_L", 4)
    assert cfg.FFN.TAGS == []


def test_one_count_replaces_its_rate_only(write):
    path = write("a.yaml", "DATA: {NUM_FRAMES_H: 64, NUM_FRAMES_M: 32, NUM_FRAMES_L: 16}")
    assert load_cfg(path, ["DATA.NUM_FRAMES_L", "8"]).FFN.NUM_FRAMES == [8, 32, 64]


def test_one_count_of_a_network_with_two_rates_is_refused():
    cfg = merged("FFN.NUM_FRAMES", "[4, 8]")
    with pytest.raises(ValueError, match="DATA.NUM_FRAMES_H together: FFN.NUM_FRAMES is"):
        cfg.merge_from_list(["DATA.NUM_FRAMES_H", "8"])


def test_a_wrong_count_names_the_key_that_was_written():
    with pytest.raises(ValueError, match="command line: DATA.NUM_FRAMES_H = 'x' must be an int"):
        merged("DATA.NUM_FRAMES_H", "x")


def test_train_lambda_becomes_ffn_lambda(log):
    assert merged("TRAIN.LAMBDA", "2").FFN.LAMBDA == 2.0
    assert log() == ["command line: TRAIN.LAMBDA 2 -> FFN.LAMBDA 2"]


@pytest.mark.parametrize(
    "key, old, new, flexible",
    [
        ("MODEL.MODEL_NAME", "SlowFast_FFN", "SlowFast", True),
        ("MODEL.MODEL_NAME", "Uniformer_FFN", "UniFormer", True),
        ("MODEL.MODEL_NAME", "Uniformer", "UniFormer", False),
        ("MODEL.ARCH", "slowfast_FFN", "slowfast", True),
        ("MODEL.ARCH", "uniformer_FFN", "uniformer", True),
        ("RESNET.TRANS_FUNC", "bottleneck_transform_FFN", "bottleneck_transform", False),
        ("TRAIN.DATASET", "sth_ffn", "sth", False),
        ("TEST.DATASET", "sth_ffn", "sth", False),
    ],
)
def test_an_original_name_becomes_todays(key, old, new, flexible, log):
    cfg = merged(key, old)
    section, name = key.split(".")
    assert cfg[section][name] == new
    assert cfg.FFN.ENABLE is flexible
    (line,) = log()
    assert line.startswith(f"command line: {key} {old} -> {key} {new}")


@pytest.mark.parametrize("name", ["SlowFast", "UniFormer"])
def test_todays_names_are_left_alone_without_a_log_line(name, log):
    cfg = merged("MODEL.MODEL_NAME", name)
    assert cfg.MODEL.MODEL_NAME == name
    assert log() == []


def test_slowfast_ffn_alone_means_the_originals_default_counts():
    cfg = merged("MODEL.MODEL_NAME", "SlowFast_FFN")
    assert cfg.FFN.NUM_FRAMES == [16, 32, 64]
    assert cfg.FFN.TAGS == ["4", "8", "16"]


def test_counts_written_beside_slowfast_ffn_are_kept():
    cfg = merged("MODEL.MODEL_NAME", "SlowFast_FFN", "FFN.NUM_FRAMES", "[8, 16, 32]")
    assert cfg.FFN.NUM_FRAMES == [8, 16, 32]


def test_an_original_yaml_gives_what_todays_yaml_gives(write, log):
    old = """
        MODEL: {ARCH: slowfast_FFN, MODEL_NAME: SlowFast_FFN}
        RESNET: {TRANS_FUNC: bottleneck_transform_FFN}
        DATA: {NUM_FRAMES_H: 64, NUM_FRAMES_M: 32, NUM_FRAMES_L: 16}
        TRAIN: {DATASET: sth_ffn, LAMBDA: 1}
        TEST: {DATASET: sth_ffn}
        """
    new = """
        MODEL: {ARCH: slowfast, MODEL_NAME: SlowFast}
        FFN: {ENABLE: True, NUM_FRAMES: [16, 32, 64], TAGS: ["4", "8", "16"], LAMBDA: 1.0}
        TRAIN: {DATASET: sth}
        TEST: {DATASET: sth}
        """
    assert load_cfg(write("old.yaml", old)) == load_cfg(write("new.yaml", new))
    assert len(log()) == 7
    assert all("old.yaml: " in line and " -> " in line for line in log())


def test_a_key_written_beside_its_alias_wins():
    assert merged("FFN.LAMBDA", "3", "TRAIN.LAMBDA", "2").FFN.LAMBDA == 3.0
    assert not merged("MODEL.ARCH", "slowfast_FFN", "FFN.ENABLE", "False").FFN.ENABLE


def test_an_override_undoes_what_an_alias_in_the_file_implied(write):
    path = write("a.yaml", "MODEL: {MODEL_NAME: SlowFast_FFN}")
    assert not load_cfg(path, ["FFN.ENABLE", "False"]).FFN.ENABLE


def test_pyslowfasts_decoder_is_pyav(log):
    assert merged("DATA.DECODING_BACKEND", "torchvision").DATA.DECODING_BACKEND == "pyav"
    (line,) = log()
    assert line.endswith("DATA.DECODING_BACKEND torchvision -> DATA.DECODING_BACKEND pyav")


@pytest.mark.parametrize("name", ["pyav", "torchcodec"])
def test_our_decoders_stay(log, name):
    assert merged("DATA.DECODING_BACKEND", name).DATA.DECODING_BACKEND == name
    assert log() == []


# What PySlowFast's YAMLs have beside the keys of this project.
PYSLOWFAST = """
    TRAIN: {CHECKPOINT_TYPE: caffe2, CHECKPOINT_INFLATE: False}
    TEST: {CHECKPOINT_TYPE: pytorch}
    DATA: {MULTI_LABEL: True}
    BN: {MOMENTUM: 0.1}
    MVIT: {NORM: "layernorm"}
    AUG: {RE_SPLIT: False}
    SOLVER: {BASE_LR_SCALE_NUM_SHARDS: True}
    NUM_SHARDS: 1
    SHARD_ID: 0
    DIST_BACKEND: nccl
    LOG_MODEL_INFO: False
    """


def test_what_leaves_no_choice_here_is_left_out_with_a_line_each(write, log):
    assert load_cfg(write("a.yaml", PYSLOWFAST)) == get_cfg()
    assert len(log()) == 12 and all("a.yaml: " in line for line in log())
    assert any("BN.MOMENTUM 0.1 is left out: BatchNorm" in line for line in log())


@pytest.mark.parametrize(
    ("key", "value"), [("BN.MOMENTUM", "0.01"), ("MVIT.NORM", "batchnorm"), ("AUG.RE_SPLIT", True)]
)
def test_what_cannot_be_had_here_is_refused_and_not_left_out(key, value):
    with pytest.raises(
        ValueError, match=f"{key} = {value!r} cannot be had here: .*; leave the key"
    ):
        merged(key, value)


def test_factors_without_a_step_are_left_out_as_pyslowfast_does(write, log):
    steps = "STEPS: [0, 14, 18], LRS: [1, 0.1, 0.01, 0.001]"
    text = f"SOLVER: {{LR_POLICY: steps_with_relative_lrs, {steps}}}"
    cfg = load_cfg(write("ssv2.yaml", text))
    assert cfg.SOLVER.LRS == [1, 0.1, 0.01]
    assert "ssv2.yaml: SOLVER.LRS [1, 0.1, 0.01, 0.001], more than SOLVER.STEPS -> " in log()[0]


def test_the_guard_of_pyslowfast_is_max_loss_factor(log):
    assert merged("TRAIN.KILL_LOSS_EXPLOSION_FACTOR", 20.0).TRAIN.MAX_LOSS_FACTOR == 20
    assert len(log()) == 1


# What UniFormer's YAMLs have beside the keys of this project and of PySlowFast.
UNIFORMER = """
    MODEL: {MODEL_NAME: Uniformer, ARCH: uniformer, USE_CHECKPOINT: True, CHECKPOINT_NUM: [0, 4]}
    UNIFORMER: {MLP_RATIO: [3.0, 3.0], SPLIT: False, QKV_SCALE: null, PRETRAIN_NAME: small_in1k}
    DATA: {DECODING_BACKEND: decord}
    SOLVER: {CLIP_GRADIENT: 5}
    """


def test_a_yaml_of_uniformer_gives_what_todays_yaml_gives(write, log):
    new = """
        MODEL: {MODEL_NAME: UniFormer, ARCH: uniformer, ACT_CHECKPOINT: True}
        UNIFORMER: {MLP_RATIO: 3}
        TRAIN: {CHECKPOINT_FILE_PATH: small_in1k.pth, CHECKPOINT_NEW_HEAD: True}
        SOLVER: {CLIP_GRAD_L2NORM: 5}
        """
    assert load_cfg(write("old.yaml", UNIFORMER)) == load_cfg(write("new.yaml", new))
    assert len(log()) == 9 and all("old.yaml: " in line for line in log())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("UNIFORMER.SPLIT", True),
        ("UNIFORMER.QKV_SCALE", 0.5),
        ("UNIFORMER.REPRESENTATION_SIZE", 512),
        ("UNIFORMER.HEAD_DROPOUT_RATE", 0.5),
        ("UNIFORMER.MLP_RATIO", [4.0, 3.0]),
    ],
)
def test_a_uniformer_that_is_not_here_is_refused(key, value):
    with pytest.raises(ValueError, match=f"{key} = .* cannot be had here: "):
        merged(key, value)


def test_uniformer_clips_gradients_at_20_where_its_yaml_says_nothing(log):
    assert merged("MODEL.MODEL_NAME", "Uniformer").SOLVER.CLIP_GRAD_L2NORM == 20
    assert "SOLVER.CLIP_GRAD_L2NORM 20" in log()[0]


@pytest.mark.parametrize("key", ["SOLVER.CLIP_GRADIENT", "SOLVER.CLIP_GRAD_L2NORM"])
def test_a_clipping_written_beside_uniformers_name_is_kept(key):
    cfg = merged("MODEL.MODEL_NAME", "Uniformer", key, None)
    assert cfg.SOLVER.CLIP_GRAD_L2NORM is None


def test_a_clipping_chosen_before_uniformers_name_is_kept():
    cfg = merged("SOLVER.CLIP_GRAD_L2NORM", 5)
    cfg.merge_from_list(["MODEL.MODEL_NAME", "Uniformer"])
    assert cfg.SOLVER.CLIP_GRAD_L2NORM == 5


def test_the_line_about_decord_says_what_its_clips_do_not_see(log):
    assert merged("DATA.DECODING_BACKEND", "decord").DATA.DECODING_BACKEND == "pyav"
    assert "at any rate, not DATA.TARGET_FPS -> DATA.DECODING_BACKEND pyav" in log()[0]


@pytest.mark.parametrize(
    ("name", "path"),
    [("b_in1k", "b_in1k.pth"), ("here/b.pth", "here/b.pth"), ("here/b", "here/b"), ("None", "")],
)
def test_the_name_of_uniformers_weights_is_a_file(name, path):
    assert merged("UNIFORMER.PRETRAIN_NAME", name).TRAIN.CHECKPOINT_FILE_PATH == path


@pytest.mark.parametrize(("written", "path"), [("mine.pth", "mine.pth"), ("", "b_in1k.pth")])
def test_a_checkpoint_beside_uniformers_weights_wins_and_the_log_says_so(written, path, log):
    words = ["TRAIN.CHECKPOINT_FILE_PATH", written, "UNIFORMER.PRETRAIN_NAME", "b_in1k"]
    assert merged(*words).TRAIN.CHECKPOINT_FILE_PATH == path
    assert f"'b_in1k' -> TRAIN.CHECKPOINT_FILE_PATH {path}," in log()[0]


@pytest.mark.parametrize("name", ["sth", "sth_ffn", "ssv2", "charades"])
@pytest.mark.parametrize(
    ("reverse", "ours"), [(", REVERSE_INPUT_CHANNEL: True", False), ("", True)]
)
def test_a_whole_file_of_an_original_reverses_images_that_it_reads_as_bgr(
    name, reverse, ours, write, log
):
    data = f"DATA: {{INPUT_CHANNEL_NUM: [3], RANDOM_FLIP: False{reverse}}}"
    path = write("a.yaml", f"TRAIN: {{DATASET: {name}}}\n{data}\nNUM_SHARDS: 1")
    cfg = load_cfg(path, ["NUM_SHARDS", 2])
    assert cfg.DATA.REVERSE_INPUT_CHANNEL is ours
    assert f"read as BGR -> DATA.REVERSE_INPUT_CHANNEL {ours}" in log()[0]


@pytest.mark.parametrize(
    "text",
    [
        "TRAIN: {DATASET: kinetics}\nDATA: {INPUT_CHANNEL_NUM: [3]}\nNUM_SHARDS: 1",  # videos
        "TRAIN: {DATASET: sth}\nDATA: {INPUT_CHANNEL_NUM: [3]}",  # ours
    ],
)
def test_colours_of_videos_and_of_our_files_stay(text, write):
    assert not load_cfg(write("a.yaml", text)).DATA.REVERSE_INPUT_CHANNEL
