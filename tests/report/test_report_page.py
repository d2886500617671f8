"""The written report: which files, what the page says, and that it needs nothing else."""

import base64
import dataclasses
import json
from html.parser import HTMLParser

import pytest
from matplotlib import image, rcParams

from slowfast.report import Coverage, claims, summary_lines, write_report
from slowfast.report.build import document
from slowfast.report.heatmaps import accuracy_matrix
from slowfast.report.style import styled

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags, links and text, and checks that every tag is closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], [], []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def written(folder, invented):
    return write_report(invented, folder)


@pytest.fixture(scope="module")
def html(written) -> str:
    return written[0].read_text("utf-8")


def test_a_report_is_page_markdown_data_and_six_figures(written, folder):
    names = [str(path.relative_to(folder)) for path in written]
    figures = ["frames", "gflops", "matrix", "classes", "confusion", "curves"]
    assert names == [
        *("report.html", "report.md", "report.json"),
        *(f"figures/{name}.png" for name in figures),
    ]


def test_every_figure_is_large_and_not_blank(written):
    for path in written[3:]:
        pixels = image.imread(path)[..., :3]
        assert min(pixels.shape[:2]) >= 500, path
        assert 0.01 < (pixels < 0.9).any(axis=-1).mean() < 0.9, path


def test_the_page_loads_nothing_from_outside_itself(html):
    page = Page(html)
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in html and "@import" not in html


def test_the_page_embeds_the_very_pictures_beside_it(html, written):
    embedded = [base64.b64decode(link.split(",", 1)[1]) for link in Page(html).links]
    assert embedded == [path.read_bytes() for path in written[3:]]


def test_the_page_escapes_class_names_and_commands(html):
    assert "zig-zag &lt;&amp;&gt;" in html
    assert "&lt;done&gt;" in html
    assert "<done>" not in html


def test_the_page_shows_every_claim_with_the_mark_of_its_outcome(html, invented):
    text = "".join(Page(html).text)
    for claim in claims(invented):
        assert claim.text in text
    assert text.count("✓") == sum(claim.holds for claim in claims(invented))
    assert text.count("✗") == sum(not claim.holds for claim in claims(invented))


def test_the_page_names_unreadable_videos_beside_the_coverage(report):
    failures = ({"index": 7, "path": "<cut>.mp4", "error": "moov atom not found"},)
    coverage = Coverage(300, 299, failures)
    runs = tuple(dataclasses.replace(run, coverage=coverage) for run in report.runs)
    html = document(dataclasses.replace(report, runs=runs), []).html()
    assert "299/300 videos read (99.7 %)" in html
    assert "&lt;cut&gt;.mp4: moov atom not found" in html


def test_data_of_a_report_hold_its_accuracies_as_plain_json(written, invented):
    data = json.loads(written[2].read_text())
    assert data["runs"][0]["accuracy"]["4"] == invented.runs[0].accuracy[4]


def test_markdown_shows_every_figure_by_its_relative_path(written):
    markdown = written[1].read_text("utf-8")
    assert all(f"](figures/{path.name})" in markdown for path in written[3:])


def test_figures_without_measurements_are_left_out(report, tmp_path):
    runs = tuple(dataclasses.replace(run, costs={}, curves=()) for run in report.runs)
    paths = write_report(dataclasses.replace(report, runs=runs), tmp_path)
    assert not {"gflops.png", "curves.png"} & {path.name for path in paths}


def test_one_seed_makes_a_report_too(make_report, tmp_path):
    assert "±" not in write_report(make_report(seeds=1), tmp_path)[1].read_text("utf-8")


def test_drawing_leaves_the_settings_of_matplotlib_alone(invented):
    before = dict(rcParams)
    with styled():
        accuracy_matrix(invented)
    assert dict(rcParams) == before


def test_the_summary_gives_the_gap_and_every_difference_to_separate_networks(report):
    low, top = report.rates[0], report.rates[-1]
    first = summary_lines(report)[0]
    assert f"{report.high.mean(top):.1f} % there and {report.high.mean(low):.1f} % at 4" in first
    assert "points (4, 8 and 16 frames)" in first


def test_the_terminal_summary_states_coverage_and_every_claim(report):
    lines = summary_lines(report)
    assert "FFN: 300/300 videos read (100.0 %)" in lines
    assert sum(line[:1] in "✓✗" and line != "" for line in lines) == len(claims(report))


def test_videos_with_several_labels_are_reported_by_mean_average_precision(
    precision_report, tmp_path
):
    paths = write_report(precision_report, tmp_path)
    assert not (tmp_path / "figures/confusion.png").exists()
    text = paths[1].read_text("utf-8")
    assert "Mean average precision (%) by network and tested frames" in text
    assert "| mAP (%) | Hit@1 (%) |" in text and "Average precision per class" in text
    assert "Top-1" not in text and "Top-5" not in text
    assert "chance" not in paths[0].read_text("utf-8")
    assert type(precision_report).load(tmp_path / "report.json") == precision_report
