"""Confusion matrices with the names that classes really have."""

import pytest
from matplotlib.image import imread

from slowfast.report.heatmaps import save_confusion
from slowfast.report.style import styled


@pytest.mark.parametrize("name", [r"a $\prize$", "$5_ or $10"])
def test_a_dollar_sign_in_a_class_name_is_no_formula(name, tmp_path):
    save_confusion(tmp_path / "confusion.png", {4: [[1, 0], [0, 1]]}, [name, "other"])
    assert imread(tmp_path / "confusion.png").ndim == 3


def test_text_in_the_house_style_is_shown_as_it_is():
    from matplotlib.text import Text

    with styled():
        assert not Text(text="$x$").get_parse_math()
