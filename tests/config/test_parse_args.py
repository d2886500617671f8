import pytest

from slowfast.config import Shards, parse_args, parse_run_args


@pytest.fixture
def a(write):
    return str(write("a.yaml", "SOLVER: {MAX_EPOCH: 7}"))


@pytest.fixture
def b(write):
    return str(write("b.yml", "SOLVER: {MAX_EPOCH: 9}"))


def refusal(argv, capsys):
    """What the user reads before the exit with status 2."""
    with pytest.raises(SystemExit) as exit_:
        parse_args(argv)
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_each_file_is_a_run_of_its_own(a, b):
    assert [cfg.SOLVER.MAX_EPOCH for cfg in parse_args(["--cfg", a, b])] == [7, 9]


def test_files_may_come_by_several_cfg_options(a, b):
    assert len(parse_args(["--cfg", a, "--cfg", b])) == 2
    assert len(parse_args([f"--cfg={a}"])) == 1


@pytest.mark.parametrize("marker", [["--opts"], []])
def test_overrides_hold_for_every_file_with_and_without_opts(a, b, marker):
    cfgs = parse_args(["--cfg", a, b, *marker, "SOLVER.BASE_LR", "1", "TRAIN.ENABLE", "false"])
    assert [cfg.SOLVER.BASE_LR for cfg in cfgs] == [1.0, 1.0]
    assert [cfg.TRAIN.ENABLE for cfg in cfgs] == [False, False]


def test_overrides_on_both_sides_of_opts_hold(a):
    (cfg,) = parse_args(["--cfg", a, "NUM_GPUS", "0", "--opts", "RNG_SEED", "3"])
    assert (cfg.NUM_GPUS, cfg.RNG_SEED) == (0, 3)


def test_overrides_may_follow_the_equals_form(a):
    assert parse_args([f"--cfg={a}", "NUM_GPUS", "0"])[0].NUM_GPUS == 0


@pytest.mark.parametrize("marker", [["--opts"], []])
def test_values_that_look_like_options_or_files_are_values(a, marker):
    words = ["OUTPUT_DIR", "x.yaml", "DATA.PATH_PREFIX", "--here", "DATA.PATH_TO_DATA_DIR", "-1e-3"]
    (cfg,) = parse_args(["--cfg", a, *marker, *words])
    assert (cfg.OUTPUT_DIR, cfg.DATA.PATH_PREFIX) == ("x.yaml", "--here")
    assert cfg.DATA.PATH_TO_DATA_DIR == "-1e-3"


def test_the_configurations_are_frozen(a):
    assert parse_args(["--cfg", a])[0].is_frozen()


def test_no_file_is_a_usage_error_with_an_example(capsys):
    assert "--cfg is missing; example: python tools/run_net.py --cfg" in refusal([], capsys)


def test_a_missing_file_is_named_and_not_taken_for_an_override(a, capsys):
    assert "gone.yaml does not exist" in refusal(["--cfg", a, "gone.yaml"], capsys)


def test_a_wrong_setting_is_one_sentence_without_traceback(a, capsys):
    words = refusal(["--cfg", a, "BASE_LR", "1"], capsys)
    assert "command line: unknown key BASE_LR; did you mean SOLVER.BASE_LR?" in words
    assert len(words.splitlines()) == 1


def test_help_shows_the_description_and_the_form(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_args(["--help"], description="Trains a network.")
    assert exit_.value.code == 0
    words = capsys.readouterr().out
    assert "Trains a network." in words
    assert "--cfg A.yaml [B.yaml ...] [--opts] KEY VALUE" in words


# ------------------------------------------------------------------ PySlowFast's several machines


@pytest.mark.parametrize(
    "form",
    [
        "--num_shards 4 --shard_id 2 --init_method tcp://a:1 --cfg {a} NUM_GPUS 0",
        "--cfg {a} --num_shards 4 --shard_id 2 --init_method tcp://a:1 NUM_GPUS 0",
        "--cfg {a} --num_shards 4 --shard_id 2 --init_method tcp://a:1 --opts NUM_GPUS 0",
        "--cfg {a} --opts NUM_GPUS 0 --num_shards=4 --shard_id=2 --init_method=tcp://a:1",
    ],
)
def test_the_flags_of_shards_stand_anywhere(a, form):
    (cfg,), shards = parse_run_args(form.format(a=a).split())
    assert (cfg.SOLVER.MAX_EPOCH, cfg.NUM_GPUS) == (7, 0)
    assert shards == Shards(2, 4, "tcp://a:1")


def test_without_flags_there_is_one_shard(a):
    assert parse_run_args(["--cfg", a])[1] == Shards(0, 1, "tcp://localhost:9999")


@pytest.mark.parametrize("shard", ["2", "-1"])
def test_a_shard_that_does_not_exist_is_refused(a, shard, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_run_args(["--cfg", a, "--num_shards", "2", "--shard_id", shard])
    assert exit_.value.code == 2
    assert f"--shard_id {shard} must be 0 to 1" in capsys.readouterr().err
