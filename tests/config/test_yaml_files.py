import pytest

from slowfast.config import get_cfg, load_cfg


def test_a_base_is_found_beside_the_file_that_names_it_and_overridden(write, monkeypatch, tmp_path):
    write("shared/base.yaml", "SOLVER: {BASE_LR: 0.5, MAX_EPOCH: 7}")
    path = write("runs/a.yaml", "_BASE_: ../shared/base.yaml\nSOLVER: {MAX_EPOCH: 9}")
    monkeypatch.chdir(tmp_path)
    cfg = load_cfg(path.relative_to(tmp_path))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH) == (0.5, 9)


def test_of_several_bases_the_later_wins(write):
    write("a.yaml", "SOLVER: {BASE_LR: 0.5, MAX_EPOCH: 7}")
    write("b.yaml", "SOLVER: {BASE_LR: 0.25}")
    cfg = load_cfg(write("c.yaml", "_BASE_: [a.yaml, b.yaml]"))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH) == (0.25, 7)


def test_a_base_may_have_a_base(write):
    write("a.yaml", "NUM_GPUS: 0")
    write("b.yaml", "_BASE_: a.yaml")
    assert load_cfg(write("c.yaml", "_BASE_: b.yaml")).NUM_GPUS == 0


def test_the_same_base_by_two_ways_is_no_circle(write):
    write("a.yaml", "NUM_GPUS: 0")
    write("b.yaml", "_BASE_: a.yaml")
    assert load_cfg(write("c.yaml", "_BASE_: [a.yaml, b.yaml]")).NUM_GPUS == 0


def test_bases_in_a_circle_are_refused(write):
    path = write("a.yaml", "_BASE_: b.yaml")
    write("b.yaml", "_BASE_: a.yaml")
    with pytest.raises(ValueError, match="_BASE_ runs in a circle: .*a.yaml -> .*b.yaml -> "):
        load_cfg(path)


def test_a_problem_in_a_base_names_the_base(write):
    base = write("base.yaml", "SOLVER: {NOPE: 1}")
    with pytest.raises(ValueError) as error:
        load_cfg(write("a.yaml", "_BASE_: base.yaml"))
    assert str(error.value).startswith(f"{base}: unknown key SOLVER.NOPE")


def test_a_missing_file_is_named_with_a_neighbour(write):
    path = write("SLOWFAST.yaml", "")
    with pytest.raises(FileNotFoundError) as error:
        load_cfg(path.with_name("SLOWFSAT.yaml"))
    assert str(error.value).endswith(f"SLOWFSAT.yaml does not exist; did you mean {path}?")


def test_a_missing_base_names_the_file_that_wants_it(write):
    path = write("a.yaml", "_BASE_: gone.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone.yaml, the _BASE_ of .*a.yaml, does not"):
        load_cfg(path)


def test_a_folder_is_not_a_config_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder"):
        load_cfg(tmp_path)


def test_a_base_that_is_no_name_is_refused(write):
    with pytest.raises(ValueError, match="_BASE_ = 3 must be a file name"):
        load_cfg(write("a.yaml", "_BASE_: 3"))


@pytest.mark.parametrize(
    "text, line",
    [("SOLVER:\n  BASE_LR: [1, 2\nMODEL: 3\n", 3), ("A: 1\nB: 'open", 2), ("A:\n\tB: 1", 2)],
)
def test_malformed_yaml_is_one_sentence_with_file_and_line(write, text, line):
    path = write("a.yaml", text)
    with pytest.raises(ValueError) as error:
        load_cfg(path)
    assert str(error.value).startswith(f"{path}, line {line}: not valid YAML: ")
    assert "\n" not in str(error.value)


def test_a_key_written_twice_is_refused(write):
    with pytest.raises(ValueError, match="line 3: .*'BASE_LR' is written twice"):
        load_cfg(write("a.yaml", "SOLVER:\n  BASE_LR: 1\n  BASE_LR: 2\n"))
    with pytest.raises(ValueError, match="line 3: .*'STEPS' is written twice"):
        load_cfg(write("b.yaml", "SOLVER:\n  STEPS: [0, 1]\n  STEPS: [0, 2]\n"))


def test_a_key_with_one_value_written_twice_is_read(write):
    text = "SOLVER:\n  BASE_LR: 0.5  # first\n  STEPS: [0]\n  BASE_LR: 0.5\n  STEPS: [0]\n"
    assert load_cfg(write("a.yaml", text)).SOLVER.BASE_LR == 0.5


def test_binary_files_are_refused(tmp_path):
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"\x80\x02\xff\xfe")
    with pytest.raises(ValueError, match="weights.yaml: not valid YAML"):
        load_cfg(path)


def test_a_file_without_sections_is_refused(write):
    with pytest.raises(ValueError, match="expected sections"):
        load_cfg(write("a.yaml", "- 1\n- 2\n"))


def test_an_empty_file_and_an_empty_section_change_nothing(write):
    assert load_cfg(write("a.yaml", "")) == get_cfg()
    assert load_cfg(write("b.yaml", "SOLVER:\n")) == get_cfg()


@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_a_tag_that_would_run_code_is_refused_and_not_run(write, tmp_path, allow_unsafe):
    trap = tmp_path / "ran"
    path = write("a.yaml", f'OUTPUT_DIR: !!python/object/apply:os.mkdir ["{trap}"]')
    with pytest.raises(ValueError, match="line 1: refused, as only plain YAML is read"):
        get_cfg().merge_from_file(str(path), allow_unsafe=allow_unsafe)
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "NUM_GPUS: 1\na: &x {b: *x}",
        "NUM_GPUS: 1\na: &x\n  b: {c: *x}",
        "NUM_GPUS: 1\nSOLVER: {LRS: &x [1, *x]}",
        "NUM_GPUS: 1\na: &x [&y {b: *y, c: *x}]",
    ],
)
def test_an_alias_inside_what_it_stands_for_is_refused_with_its_line(text, write):
    path = write("a.yaml", text)
    with pytest.raises(ValueError) as error:
        load_cfg(path)
    problem = "an alias (*) stands inside of what it stands for (&)"
    assert str(error.value) == f"{path}, line 2: not valid YAML: {problem}"


def test_other_aliases_are_read(write):
    text = "SOLVER: &x {BASE_LR: &rate 0.25, WARMUP_START_LR: *rate}\nDISTILL: {WEIGHT: *rate}"
    cfg = load_cfg(write("a.yaml", text))
    assert cfg.SOLVER.WARMUP_START_LR == cfg.DISTILL.WEIGHT == 0.25
