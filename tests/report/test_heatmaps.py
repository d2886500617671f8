"""Confusion matrices with the names that classes really have."""

from dataclasses import replace

import pytest
from matplotlib.image import imread

from slowfast.report.heatmaps import confusion_matrices, save_confusion
from slowfast.report.style import styled


@pytest.mark.parametrize("name", [r"a $\prize$", "$5_ or $10"])
def test_a_dollar_sign_in_a_class_name_is_no_formula(name, tmp_path):
    save_confusion(tmp_path / "confusion.png", {4: [[1, 0], [0, 1]]}, [name, "other"])
    assert imread(tmp_path / "confusion.png").ndim == 3


def test_text_in_the_house_style_is_shown_as_it_is():
    from matplotlib.text import Text

    with styled():
        assert not Text(text="$x$").get_parse_math()


def test_long_names_of_classes_leave_room_for_the_cells(report):
    long = tuple(f"{name} {'and on ' * 20}" for name in report.dataset.classes)
    with styled():
        figure = confusion_matrices(replace(report, dataset=replace(report.dataset, classes=long)))
        figure.draw_without_rendering()
    width = figure.get_size_inches()[0] * figure.dpi
    for axes in figure.axes[:2]:
        assert axes.get_window_extent().width > width / 5
        assert all(label.get_window_extent().x0 >= 0 for label in axes.get_yticklabels())
