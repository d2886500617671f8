import pytest

from slowfast.config import get_cfg, load_cfg
from slowfast.config.yaml_files import flatten


def set_one(key, value):
    """The configuration's value of `key` after an override."""
    cfg = get_cfg()
    cfg.merge_from_list([key, value])
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


@pytest.mark.parametrize(
    "key, written, expected",
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", 1, 1.0),
        ("SOLVER.BASE_LR", "1e-4", 1e-4),
        ("SOLVER.MAX_EPOCH", "22", 22),
        ("TRAIN.ENABLE", "false", False),
        ("TRAIN.ENABLE", "False", False),
        ("FFN.ENABLE", "true", True),
        ("OUTPUT_DIR", "2024", "2024"),
        ("OUTPUT_DIR", 2024, "2024"),
        ("OUTPUT_DIR", "'007'", "007"),
        ("OUTPUT_DIR", "a 'quoted' word", "a 'quoted' word"),
        ("DATA.PATH_LABEL_SEPARATOR", '"\\t"', "\t"),
        ("DATA.PATH_LABEL_SEPARATOR", ",", ","),
        ("FFN.NUM_FRAMES", "(3,7)", [3, 7]),
        ("FFN.NUM_FRAMES", "3,7", [3, 7]),
        ("FFN.NUM_FRAMES", (3, 7), [3, 7]),
        ("FFN.TAGS", "[4, 8]", ["4", "8"]),
        ("TEST.NUM_FRAMES", "[4, 5]", [4, 5]),
        ("SOLVER.LRS", "[1, 0.1]", [1.0, 0.1]),
        ("DATA.MEAN", "[0, 0, 0]", [0.0, 0.0, 0.0]),
        ("SOLVER.CLIP_GRAD_L2NORM", "20", 20),
        ("SOLVER.CLIP_GRAD_L2NORM", "1e-1", 0.1),
        ("SOLVER.CLIP_GRAD_L2NORM", "None", None),
        ("SOLVER.CLIP_GRAD_L2NORM", "null", None),
    ],
)
def test_a_value_takes_the_type_of_its_default(key, written, expected):
    got = set_one(key, written)
    assert got == expected
    assert type(got) is type(expected)


def test_list_entries_take_the_type_of_the_default_entries():
    assert all(type(number) is float for number in set_one("SOLVER.LRS", [1, 1]))


@pytest.mark.parametrize(
    "key, written, expectation",
    [
        ("SOLVER.BASE_LR", "fast", "a number, like 0.1"),
        ("SOLVER.BASE_LR", "True", "a number"),
        ("SOLVER.BASE_LR", "[0.1]", "a number"),
        ("SOLVER.MAX_EPOCH", "1.5", "an integer, like 300"),
        ("SOLVER.MAX_EPOCH", "True", "an integer"),
        ("SOLVER.MAX_EPOCH", "None", "an integer"),
        ("TRAIN.ENABLE", "1", "True or False"),
        ("TRAIN.ENABLE", "yes", "True or False"),
        ("OUTPUT_DIR", ["a"], "text"),
        ("OUTPUT_DIR", None, "text"),
        ("FFN.NUM_FRAMES", "4", "a list"),
        ("FFN.NUM_FRAMES", "[4, 'x']", "a list, with each entry an integer"),
        ("SOLVER.LRS", "['x']", "a list, with each entry a number"),
        ("SOLVER.CLIP_GRAD_VAL", {"a": 1}.keys(), "a number, text, a list or None"),
    ],
)
def test_a_wrong_type_names_source_key_value_and_expectation(key, written, expectation):
    with pytest.raises(ValueError) as error:
        set_one(key, written)
    assert str(error.value).startswith(f"command line: {key} = {written!r} must be {expectation}")


def test_a_key_that_was_none_accepts_another_type_a_second_time():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.CLIP_GRAD_L2NORM", "20"])
    cfg = cfg.clone()
    cfg.merge_from_list(["SOLVER.CLIP_GRAD_L2NORM", "0.5"])
    assert cfg.SOLVER.CLIP_GRAD_L2NORM == 0.5
    cfg.merge_from_list(["SOLVER.CLIP_GRAD_L2NORM", "None"])
    assert cfg.SOLVER.CLIP_GRAD_L2NORM is None


def test_text_is_never_evaluated_as_code():
    with pytest.raises(ValueError, match="must be a number"):
        set_one("SOLVER.BASE_LR", "__import__('os').getpid()")


def test_an_integer_that_no_float_can_hold_is_refused_by_name():
    with pytest.raises(ValueError, match="SOLVER.BASE_LR = .* must be below 1.8e308"):
        get_cfg().merge_from_list(["SOLVER.BASE_LR", "1" + "0" * 400])


FLOATS = [key for key, value in flatten(get_cfg()) if isinstance(value, float)]
OTHERS = {
    "SOLVER.CLIP_GRAD_L2NORM": "{}",
    "TEST.EXIT_TARGET": "{}",
    "SOLVER.LRS": "[1, {}]",
    "DATA.STD": "[0.2, {}, 0.2]",
    "MVIT.DIM_MUL": "[[1, {}]]",
    "MULTIGRID.LONG_CYCLE_FACTORS": "[[0.5, 1], [1, {}]]",
}


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("key", [*FLOATS, *OTHERS])
def test_a_number_of_a_file_must_be_finite(key, number, write):
    *sections, name = key.split(".")
    text = f"{name}: {OTHERS.get(key, '{}').format(number)}"
    path = write("a.yaml", f"{sections[0]}: {{{text}}}" if sections else text)
    with pytest.raises(ValueError, match=f"a.yaml: {key} = .*{number[-3:]}.* must be finite"):
        load_cfg(path)


@pytest.mark.parametrize("number", ["1e999", "-1e999", float("inf"), float("nan")])
def test_a_number_of_an_override_must_be_finite(number):
    with pytest.raises(ValueError, match="command line: SOLVER.BASE_LR = .* must be finite, like"):
        set_one("SOLVER.BASE_LR", number)


@pytest.mark.parametrize("word", ["inf", "nan"])
def test_no_word_stands_for_a_number(word):
    with pytest.raises(ValueError, match=f"SOLVER.BASE_LR = '{word}' must be a number"):
        set_one("SOLVER.BASE_LR", word)
