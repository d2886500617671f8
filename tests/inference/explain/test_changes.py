"""Changes between rates, of a table small enough to count by hand."""

import csv

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from slowfast.inference.explain import changes as changes_module
from slowfast.inference.explain.changes import find_changes, save_changes
from slowfast.inference.explain.predictions import read_predictions

HEADER = "path,label,frames,prediction,score,label_score,top5"
# Classes at 4, 8 and 16 frames; the label is in front.
VIDEOS = {
    "a": (0, (0, 0, 0)),  # right at all
    "b": (1, (1, 1, 2)),  # lost at 16
    "c": (1, (0, 1, 1)),  # gained at 8
    "d": (2, (0, 1, 2)),  # gained at 16
    "e": (2, (0, 0, 1)),  # wrong at all, and another class
    "f": (0, (1, 0, 1)),  # right at 8 alone
    "g": (2, (2, 0, 0)),  # lost at 8
    "h": (1, (2, 2, 2)),  # wrong at all, alike
}


def write(folder, videos=VIDEOS, rates=(4, 8, 16), names=True):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for place, rate in enumerate(rates):
        for score, (video, (label, said)) in enumerate(videos.items(), 1):
            lines.append(f"{video}.mp4,{label},{rate},{said[place]},{score / 10},0.1,0 1 2")
    (folder / "predictions.csv").write_text("\n".join(lines))
    if names:
        (folder / "per_class.csv").write_text("class,name,videos\n0,left,2\n1,right,3\n2,up,3\n")
    return folder / "predictions.csv"


def kinds(changes):
    return [(change.kind, change.video[0]) for change in changes.changed]


def test_videos_are_lost_gained_or_moved_and_the_surest_come_first(tmp_path):
    changes = find_changes(read_predictions(write(tmp_path)))
    assert (changes.low, changes.high) == ("4", "16")
    assert kinds(changes) == [
        *(("lost", "g"), ("lost", "b"), ("gained", "d"), ("gained", "c"), ("moved", "e")),
    ]


def test_any_two_rates_can_be_compared(tmp_path):
    changes = find_changes(read_predictions(write(tmp_path)), "16", "8")
    assert kinds(changes) == [
        *(("lost", "d"), ("gained", "f"), ("gained", "b"), ("moved", "e")),
    ]


def test_rates_agree_on_the_share_of_videos_with_the_same_class(tmp_path):
    changes = find_changes(read_predictions(write(tmp_path)))
    assert changes.agreement == [
        [1.0, 4 / 8, 3 / 8],
        [4 / 8, 1.0, 4 / 8],
        [3 / 8, 4 / 8, 1.0],
    ]
    assert changes.right == {"4": 3 / 8, "8": 4 / 8, "16": 3 / 8}
    assert changes.right_at_some() == 6 / 8


def test_a_run_or_its_results_stand_for_the_file(tmp_path):
    write(tmp_path / "run/results")
    for path in (tmp_path / "run", tmp_path / "run/results"):
        assert read_predictions(path).rates == ("4", "8", "16")


def test_rates_with_sizes_are_in_the_order_of_their_numbers(tmp_path):
    videos = {"a": (0, (0, 1, 0, 1))}
    table = read_predictions(write(tmp_path, videos, ("16x112", "4x160", "4x112", "8x112")))
    assert table.rates == ("4x112", "4x160", "8x112", "16x112")


def test_one_of_several_labels_is_enough(tmp_path):
    videos = {"a": ("0;2", (2, 1)), "b": ("0;2", (1, 0))}
    changes = find_changes(read_predictions(write(tmp_path, videos, (4, 8))))
    assert kinds(changes) == [("lost", "a"), ("gained", "b")]


def test_without_labels_there_is_agreement_alone(tmp_path):
    videos = {"a": ("", (2, 1)), "b": ("", (1, 1))}
    changes = find_changes(read_predictions(write(tmp_path, videos, (4, 8))))
    assert changes.right == {} and kinds(changes) == [("moved", "a")]
    page = save_changes(tmp_path, changes)[1].read_text()
    assert "Right or wrong" not in page and "50.0 % have the same class" in page


def test_a_video_that_failed_at_some_rate_is_left_out(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("a.mp4,0,8,0,0.1,0.1,0 1 2\n", ""))
    assert "a.mp4" not in read_predictions(path).said


def test_the_table_names_the_classes_at_both_rates_and_numbers_those_of_all(tmp_path):
    path, page, figure = save_changes(tmp_path, find_changes(read_predictions(write(tmp_path))))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        **{"kind": "lost", "path": "b.mp4", "label": "right"},
        **{"class_4": "right", "score_4": "0.2", "class_16": "up", "score_16": "0.2"},
        **{"frames_4": "1", "frames_8": "1", "frames_16": "2"},
    }
    assert len(rows) == 5
    assert (page.name, figure.name) == ("changes.md", "changes.png")
    assert not list(tmp_path.glob("*.tmp"))


def test_the_page_counts_right_and_wrong(tmp_path):
    _, page, _ = save_changes(tmp_path, find_changes(read_predictions(write(tmp_path))), "RUN")
    text = page.read_text()
    assert "python tools/explain.py changes RUN --low 4 --high 16" in text
    assert "| right at 4 | 1 | 2 |\n| wrong at 4 | 2 | 3 |" in text
    assert "| right (%) | 37.5 | 50.0 | 37.5 | 75.0 |" in text
    assert "| g.mp4 | up | up (0.70) | left (0.70) |" in text
    assert "| 4 | 100.0 | 50.0 | 37.5 |" in text


@pytest.mark.parametrize("count", [2, 3, 20])
def test_the_figure_has_ink_at_any_number_of_rates(tmp_path, count):
    videos = {"a": (0, (0,) * count), "b": (1, (1,) * (count - 1) + (0,))}
    rates = tuple(range(1, count + 1))
    paths = save_changes(tmp_path, find_changes(read_predictions(write(tmp_path, videos, rates))))
    picture = imread(paths[2])
    assert picture.shape[1] > picture.shape[0] and picture[..., :3].min() < 0.3


@pytest.mark.parametrize("rates", [(4, 8, 16), ("4x112", "8x112", "16x160")])
def test_the_legend_covers_no_numbers_of_the_axis(tmp_path, rates, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    found = find_changes(read_predictions(write(tmp_path, VIDEOS, rates)))
    changes_module._save_figure(tmp_path / "x.png", found, "")
    axes = drawn[0].axes[1]
    drawn[0].draw_without_rendering()
    legend, inside = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert inside.x0 <= legend.x0 and legend.x1 <= inside.x1


def test_without_names_classes_are_numbers(tmp_path):
    changes = find_changes(read_predictions(write(tmp_path, names=False)))
    assert changes.predictions.name(2) == "2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,class\n", "has no column 'frames'; give the predictions.csv of a test"),
        (f"{HEADER}\n", "is empty; test at several, like"),
        (f"{HEADER}\na,0,4,0,1,1,0\n", "has predictions at 4 frames alone; test at several"),
    ],
)
def test_a_file_without_rates_is_refused_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_predictions(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"path\n" + bytes(200_000)])
def test_a_binary_file_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "best.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"best.safetensors is no table .* give the predictions.c"):
        read_predictions(path)


def test_rates_that_were_not_tested_are_named(tmp_path):
    table = read_predictions(write(tmp_path))
    with pytest.raises(ValueError, match="no predictions at 5 frames; there are 4, 8, 16"):
        find_changes(table, "5")
    with pytest.raises(ValueError, match="low and high are both 8; give two of 4, 8, 16"):
        find_changes(table, "8", "8")
    with pytest.raises(ValueError, match="does not exist, or is a folder without"):
        read_predictions(tmp_path / "none")
