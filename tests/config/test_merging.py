import pytest

from slowfast.config import CfgNode, get_cfg, load_cfg


def test_a_file_overrides_defaults_and_overrides_a_file(write):
    path = write("a.yaml", "SOLVER: {BASE_LR: 2, MAX_EPOCH: 50}")
    cfg = load_cfg(path, ["SOLVER.MAX_EPOCH", "60"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.MOMENTUM) == (2.0, 60, 0.9)


def test_get_cfg_gives_a_fresh_copy():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 7.0
    cfg.FFN.NUM_FRAMES.append(32)
    assert get_cfg().SOLVER.BASE_LR == 0.1
    assert get_cfg().FFN.NUM_FRAMES == [4, 8, 16]


def test_the_merge_methods_of_the_tree_behave_like_load_cfg(write):
    path = write("a.yaml", "SOLVER: {BASE_LR: 1e-4, WARMUP_EPOCHS: 34}")
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["NUM_GPUS", "0"])
    assert cfg == load_cfg(path, ["NUM_GPUS", 0])
    assert type(cfg.SOLVER.WARMUP_EPOCHS) is float


def test_dumping_and_loading_gives_an_equal_configuration(write):
    changes = ["SOLVER.BASE_LR", "1e-7", "FFN.TAGS", "['4', '8', '16']", "OUTPUT_DIR", "012"]
    cfg = load_cfg(write("a.yaml", "SOLVER: {CLIP_GRAD_L2NORM: 20}"), changes)
    assert load_cfg(write("dump.yaml", cfg.dump())) == cfg


def test_a_loaded_configuration_is_frozen(write):
    cfg = load_cfg(write("a.yaml", ""))
    with pytest.raises(AttributeError, match="immutable"):
        cfg.SOLVER.BASE_LR = 1.0
    with pytest.raises(AttributeError, match="immutable"):
        cfg.merge_from_list(["SOLVER.BASE_LR", "1"])


def test_a_clone_can_be_defrosted_and_changed(write):
    cfg = load_cfg(write("a.yaml", ""))
    copy = cfg.clone()
    copy.defrost()
    copy.SOLVER.BASE_LR = 1.0
    assert cfg.SOLVER.BASE_LR == 0.1


def test_keys_added_to_the_tree_can_be_set_from_files(write):
    cfg = get_cfg()
    cfg.MINE = CfgNode({"WEIGHT": 0.5})
    cfg.merge_from_file(write("a.yaml", "MINE: {WEIGHT: 1}"))
    assert cfg.MINE.WEIGHT == 1.0


def test_another_tree_can_be_merged():
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode({"SOLVER": CfgNode({"BASE_LR": 1})}))
    assert cfg.SOLVER.BASE_LR == 1.0


@pytest.mark.parametrize(
    "wrong, meant",
    [
        ("BASE_LR", "SOLVER.BASE_LR"),
        ("base_lr", "SOLVER.BASE_LR"),
        ("MODEL.BASE_LR", "SOLVER.BASE_LR"),
        ("SOLVER.BASE_LEARN_RATE", "SOLVER.BASE_LR"),
        ("TRAIN.BATCHSIZE", "TRAIN.BATCH_SIZE"),
        ("NUM_GPU", "NUM_GPUS"),
        ("ffn.enable", "FFN.ENABLE"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_keys(wrong, meant):
    with pytest.raises(ValueError) as error:
        get_cfg().merge_from_list([wrong, "1"])
    assert str(error.value).startswith(f"command line: unknown key {wrong}; did you mean ")
    assert meant in str(error.value)


def test_the_same_name_in_other_sections_comes_first():
    with pytest.raises(ValueError) as error:
        get_cfg().merge_from_list(["MODEL.DEPTH", "1"])
    assert "RESNET.DEPTH" in str(error.value) and "UNIFORMER.DEPTH" in str(error.value)


def test_a_key_without_neighbours_is_sent_to_the_list_of_keys():
    with pytest.raises(ValueError, match="unknown key QQQ; slowfast/config/defaults lists all"):
        get_cfg().merge_from_list(["QQQ", "1"])


def test_all_problems_of_a_file_are_reported_at_once(write):
    path = write("a.yaml", "SOLVER: {LR: 1, MAX_EPOCH: many}\nMODEL: {NAME: x}")
    with pytest.raises(ValueError) as error:
        load_cfg(path)
    message = str(error.value)
    assert message.startswith(f"{path}: unknown key SOLVER.LR")
    assert "SOLVER.MAX_EPOCH = 'many' must be an integer" in message
    assert "unknown key MODEL.NAME" in message


def test_a_source_with_a_problem_changes_nothing():
    cfg = get_cfg()
    with pytest.raises(ValueError):
        cfg.merge_from_list(["SOLVER.BASE_LR", "7", "SOLVER.NOPE", "1"])
    assert cfg == get_cfg()


def test_a_value_for_a_section_is_refused():
    with pytest.raises(ValueError, match="SOLVER = '1': SOLVER is a section; set its keys, like"):
        get_cfg().merge_from_list(["SOLVER", "1"])


def test_an_override_without_a_value_is_refused():
    with pytest.raises(ValueError, match="'NUM_GPUS' has no value"):
        get_cfg().merge_from_list(["NUM_GPUS"])


@pytest.mark.parametrize("more", [[], ["NUM_GPUS", "0"], ["NUM_GPUS=0"]])
def test_an_override_with_an_equals_sign_is_named_with_the_right_form(more):
    with pytest.raises(ValueError, match="'SOLVER.MAX_EPOCH=2' is KEY=VALUE; write SOLVER.MAX_EPO"):
        get_cfg().merge_from_list(["SOLVER.MAX_EPOCH=2", *more])


def test_a_value_may_hold_an_equals_sign():
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "runs/lr=0.1"])
    assert cfg.OUTPUT_DIR == "runs/lr=0.1"


@pytest.mark.parametrize("words", [["[4,", "8]"], ["[4,", "8,", "16]"]])
def test_a_list_that_the_shell_has_split_is_asked_for_in_quotes(words):
    with pytest.raises(ValueError, match=r"'\[4,' is a part of a list; put lists in quotes"):
        get_cfg().merge_from_list(["TEST.NUM_FRAMES", *words, "TRAIN.ENABLE", "False"])


def test_a_key_whose_value_was_forgotten_does_not_blame_the_last_word():
    with pytest.raises(ValueError, match="'1' is no key"):
        get_cfg().merge_from_list(["OUTPUT_DIR", "SOLVER.MAX_EPOCH", "1", "TRAIN.ENABLE", "True"])
