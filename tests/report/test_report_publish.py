import pytest

from slowfast.report import publish, write_report


def test_results_replace_what_stands_between_the_markers(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- demo -->\nold\n<!-- /demo -->\nafter\n")
    write_report(report, tmp_path / "results")
    for _ in range(2):  # publishing again changes nothing
        publish(report, readme, "demo", tmp_path / "results", tmp_path / "figures")
        text = readme.read_text()
        assert text.startswith("before\n<!-- demo -->\n\n![Top-1")
        assert text.endswith("<!-- /demo -->\nafter\n")
        assert "old" not in text and "(figures/demo.png)" in text
        assert text.count("| FFN |") == 1
    assert (tmp_path / "figures/demo.png").stat().st_size > 10_000


def test_a_figure_that_was_written_where_it_is_shown_stays(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- frames --><!-- /frames -->")
    write_report(report, tmp_path)
    before = (tmp_path / "figures/frames.png").read_bytes()
    publish(report, readme, "frames", tmp_path, tmp_path / "figures")
    assert "(figures/frames.png)" in readme.read_text()
    assert (tmp_path / "figures/frames.png").read_bytes() == before


def test_a_readme_without_markers_is_refused(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no lines <!-- demo -->"):
        publish(report, readme, "demo", tmp_path, tmp_path)
    assert readme.read_text() == "nothing here\n"
