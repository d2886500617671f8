"""Tables: which numbers stand where, what is bold, and both ways of writing them."""

import dataclasses

from slowfast.report.tables import (
    Cell,
    Table,
    cost_table,
    main_table,
    matrix_table,
    per_class_table,
    significant,
    to_html,
    to_markdown,
)

SMALL = Table("Top-1", ("Network", "4"), [[Cell("a|b <i>"), Cell("1.0", best=True, own=True)]])


def test_markdown_aligns_numbers_right_marks_the_best_and_escapes_pipes():
    lines = to_markdown(SMALL).splitlines()
    assert lines == ["Top-1", "", "| Network | 4 |", "| :-- | --: |", r"| a\|b <i> | **1.0** |"]


def test_html_marks_the_best_shades_the_own_and_escapes_tags():
    html = to_html(SMALL)
    assert '<td class="own"><b>1.0</b></td>' in html
    assert "a|b &lt;i&gt;" in html
    assert "<i>" not in html


def test_the_matrix_has_a_row_per_network_and_a_column_per_tested_count(report):
    table = matrix_table(report)
    assert table.columns == ("Network", "2", "4", "6", "8", "10", "12", "16")
    assert [row[0].text for row in table.rows] == [run.name for run in report.ordered]


def test_the_matrix_marks_the_best_of_every_column(report):
    for column, frames in enumerate(report.tested, start=1):
        best = max(report.runs, key=lambda run: run.mean(frames))
        bold = [row[0].text for row in matrix_table(report).rows if row[column].best]
        assert best.name in bold


def test_several_seeds_show_mean_and_deviation_and_one_seed_only_its_number(report, make_report):
    several = matrix_table(report).rows[0][1].text
    assert several == f"{report.ordered[0].mean(2):.1f} ± {report.ordered[0].std(2):.1f}"
    assert "±" not in matrix_table(make_report(seeds=1)).rows[0][1].text


def test_separate_networks_cost_the_parameters_of_all_of_them(report):
    parameters = [row[1].text for row in main_table(report).rows]
    assert parameters == ["121,000", "363,000", "123,000"]


def test_separate_networks_are_read_on_the_diagonal(report):
    separate = main_table(report).rows[1]
    expected = [report.separate(rate).mean(rate) for rate in report.rates]
    assert [float(cell.text.split()[0]) for cell in separate[2:5]] == [
        round(value, 1) for value in expected
    ]


def test_the_cost_table_compares_high_separate_and_ffn_at_every_count(report):
    names = [(row[0].text, row[1].text) for row in cost_table(report).rows]
    assert names[:5] == [
        ("2", "trained at 16"),
        ("2", "FFN"),
        ("4", "trained at 16"),
        ("4", "trained at 4"),
        ("4", "FFN"),
    ]
    assert len(names) == 2 * 7 + 2  # a separate network below the highest rate: at 4 and at 8


def test_the_cost_table_says_pixels_views_and_where_latency_was_measured(report):
    assert "48×48 pixels" in cost_table(report).caption
    assert "1 clip × 1 crop per video; latency on 1 thread" in cost_table(report).caption


def test_the_cost_table_shows_a_dash_for_costs_not_measured(report):
    runs = tuple(dataclasses.replace(run, costs={}) for run in report.runs)
    row = cost_table(dataclasses.replace(report, runs=runs)).rows[0]
    assert [cell.text for cell in row[4:]] == ["–", "121,000", "–", "–"]


def test_the_class_table_has_every_class_and_the_best_of_each_rate_in_bold(report):
    table = per_class_table(report)
    assert [row[0].text for row in table.rows] == list(report.dataset.classes)
    for row in table.rows:
        for columns in (row[1:4], row[4:7], row[7:9]):
            best = max(float(cell.text) for cell in columns)
            assert all(cell.best == (float(cell.text) == best) for cell in columns)


def test_small_and_large_costs_keep_three_digits():
    assert [significant(x) for x in (0.01234, 1.234, 34.2, 12345.6)] == [
        "0.0123",
        "1.23",
        "34.2",
        "12346",
    ]
