import json
import shutil

import pytest
import torch

from helpers.runs import tiny_cfg
from slowfast.engine import run, train
from slowfast.engine import test as run_test
from slowfast.engine.files.checkpoint import read
from slowfast.engine.run import main
from slowfast.engine.train import Training
from slowfast.objectives import build_objective
from slowfast.weights import load, read_header


def records(folder, kind):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["_type"] == kind]


@pytest.fixture(scope="module")
def finished(motion, tmp_path_factory):
    """The folder and test record of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    return folder, run(tiny_cfg(motion, folder))


def test_every_rate_is_validated_while_training(finished):
    folder, _ = finished
    epochs = records(folder, "val_epoch")
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert all({"top1_2", "top1_4", "mean_top1"} <= record.keys() for record in epochs)


def test_training_records_hold_losses_rates_and_the_wait_for_data(finished):
    folder, _ = finished
    (first, *_) = records(folder, "train_iter")
    assert {"loss", "ce_4", "kl_2", "top1_2", "top1_4", "lr", "grad_norm", "data_wait"} <= set(
        first
    )


def test_a_run_leaves_its_configuration_log_and_checkpoints(finished):
    folder, _ = finished
    assert {"config.yaml", "stdout.log", "metrics.jsonl", "checkpoints", "results"} <= {
        path.name for path in folder.iterdir()
    }
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "best.pyth",
        "best.safetensors",
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00002.pyth",
    }


def test_any_frame_count_is_tested_at_the_nearest_rate(finished):
    _, record = finished
    rates = {int(t): row["rate"] for t, row in record["by_frames"].items()}
    assert rates == {1: 2, 2: 2, 3: 4, 4: 4}  # a tie goes up
    assert record["coverage"] == {"videos": 16, "read": 16, "failures": []}


def test_the_test_is_written_with_a_line_per_video_and_frame_count(finished):
    folder, record = finished
    assert json.loads((folder / "results/test.json").read_text()) == record
    lines = (folder / "results/predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 16 * 4


def test_a_finished_run_is_tested_from_its_own_configuration(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    config = folder / "config.yaml"
    before = config.read_text()
    overrides = ["OUTPUT_DIR", str(folder), "TRAIN.ENABLE", "False", "TEST.NUM_FRAMES", "[3, 9]"]
    main(["--cfg", str(config), *overrides])
    found = json.loads((folder / "results/test.json").read_text())["by_frames"]
    assert set(found) == {"3", "9"}
    assert found["3"] == finished[1]["by_frames"]["3"]
    assert config.read_text() == before


def test_gains_start_near_one_in_the_optimised_network(motion, tmp_path):
    training = Training.from_cfg(tiny_cfg(motion, tmp_path, "R2PLUS1D.WIDTHS", [64, 64]))
    gains = [p for name, p in training.model.named_parameters() if "adaconv" in name]
    assert torch.cat([g.flatten() for g in gains]).std().item() == pytest.approx(1e-3, rel=0.2)


def test_a_resumed_run_equals_one_that_was_not_interrupted(finished, motion, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    whole = read(folder / "checkpoints/checkpoint_epoch_00002.pyth")["model_state"]
    (folder / "checkpoints/checkpoint_epoch_00002.pyth").unlink()
    resumed = train(tiny_cfg(motion, folder)).state_dict()
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_finished_run_is_not_trained_again(finished, motion):
    folder, _ = finished
    before = (folder / "metrics.jsonl").read_text()
    train(tiny_cfg(motion, folder))
    assert (folder / "metrics.jsonl").read_text() == before


def test_testing_without_weights_is_an_error_that_names_the_folder(motion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"nothing to test: no checkpoint in {tmp_path}/runs/x/"):
        run_test(tiny_cfg(motion, "runs/x"))


def test_a_broken_video_is_named_counted_and_never_replaced(motion, tmp_path, caplog):
    data = tmp_path / "data"
    data.mkdir()
    lines = [f"{motion}/{line}" for line in (motion / "val.csv").read_text().splitlines()]
    (data / "broken.mp4").write_bytes(b"not a video")
    for split in ("train", "val"):
        (data / f"{split}.csv").write_text("\n".join([*lines, "broken.mp4 3"]) + "\n")
    record = run(tiny_cfg(data, tmp_path / "run", "SOLVER.MAX_EPOCH", 1))
    assert record["coverage"]["videos"] == 17 and record["coverage"]["read"] == 16
    assert record["coverage"]["failures"][0]["path"].endswith("broken.mp4")
    assert sum(map(sum, record["by_frames"]["4"]["confusion"])) == 16
    assert "broken.mp4" in (tmp_path / "run/results/failures.csv").read_text()


def test_training_without_a_single_readable_video_is_an_error(tmp_path):
    lines = []
    for k in range(8):
        (tmp_path / f"{k}.mp4").write_bytes(b"not a video")
        lines.append(f"{k}.mp4 {k}")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "val.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="8 of 8 training videos could not be read.*MAX_FAILURES"):
        train(tiny_cfg(tmp_path, tmp_path / "run"))
    with pytest.raises(ValueError, match="none of the training videos could be read; first: .*mp4"):
        train(tiny_cfg(tmp_path, tmp_path / "run", "DATA.MAX_FAILURES", 8))


def test_a_loss_that_is_not_finite_stops_and_names_the_videos(motion, tmp_path):
    cfg = tiny_cfg(motion, tmp_path, "SOLVER.BASE_LR", 1e30, "SOLVER.WARMUP_START_LR", 1e30)
    with pytest.raises(FloatingPointError, match=r"train/\d+.mp4"):
        train(cfg)


@pytest.mark.parametrize("backward", ["per_rate", "joint"])
def test_both_ways_of_backward_train(motion, tmp_path, backward):
    cfg = tiny_cfg(motion, tmp_path, "FFN.BACKWARD", backward, "SOLVER.MAX_EPOCH", 1)
    assert build_objective(cfg).backward == backward
    train(cfg)
    assert read(tmp_path / "checkpoints/checkpoint_epoch_00001.pyth")["epoch"] == 1


def test_mixed_precision_trains_on_the_cpu(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "TRAIN.MIXED_PRECISION", True, "SOLVER.MAX_EPOCH", 1))
    (record,) = records(tmp_path, "train_epoch")
    assert record["loss"] > 0


def test_tensorboard_scalars_are_written_where_asked(motion, tmp_path):
    train(tiny_cfg(motion, tmp_path, "TENSORBOARD.ENABLE", True, "SOLVER.MAX_EPOCH", 1))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"Val/top1_2" in events.read_bytes()


def test_fine_tuning_starts_from_the_weights_and_not_from_the_epoch(finished, motion, tmp_path):
    source = finished[0] / "checkpoints/checkpoint_epoch_00002.pyth"
    training = Training.from_cfg(
        tiny_cfg(motion, tmp_path, "TRAIN.CHECKPOINT_FILE_PATH", str(source))
    )
    assert training.epoch == 0
    expected = read(source)["model_state"]
    assert all(torch.equal(v, expected[k]) for k, v in training.model.state_dict().items())


def test_another_number_of_classes_needs_an_explicit_new_head(finished, motion, tmp_path):
    source = str(finished[0] / "checkpoints/best.pyth")
    options = ["TRAIN.CHECKPOINT_FILE_PATH", source, "MODEL.NUM_CLASSES", 20]
    with pytest.raises(ValueError, match="TRAIN.CHECKPOINT_NEW_HEAD|new_head"):
        Training.from_cfg(tiny_cfg(motion, tmp_path, *options))
    Training.from_cfg(tiny_cfg(motion, tmp_path, *options, "TRAIN.CHECKPOINT_NEW_HEAD", True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_mixed_precision_trains_and_tests_on_the_gpu(motion, tmp_path, dtype):
    options = ["NUM_GPUS", 1, "TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", dtype]
    assert run(tiny_cfg(motion, tmp_path, *options))["coverage"]["read"] == 16


def test_the_best_network_is_rebuilt_from_its_file_alone(finished, motion):
    folder, _ = finished
    model = load(folder / "checkpoints/best.safetensors")
    state = read(folder / "checkpoints/best.pyth")["model_state"]
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model(torch.randn(1, 3, 4, 16, 16)).shape == (1, 16)
    labels = read_header(folder / "checkpoints/best.safetensors").labels
    assert list(labels) == (motion / "classes.txt").read_text().split()


def test_the_average_of_the_weights_is_validated_kept_and_tested(motion, tmp_path):
    folder = tmp_path / "run"
    record = run(tiny_cfg(motion, folder, "TRAIN.EMA_DECAY", 0.5, "TEST.NUM_FRAMES", [2, 4]))
    (*_, last) = records(folder, "val_epoch")
    tested = {f"top1_{t}": row["top1"] for t, row in record["by_frames"].items()}
    assert {name: last[name] for name in tested} == pytest.approx(tested, abs=1e-4)
    state = read(folder / "checkpoints/checkpoint_epoch_00002.pyth")
    averaged = state["ema_state"]["model_state"]
    assert not torch.equal(averaged["projection.weight"], state["model_state"]["projection.weight"])
