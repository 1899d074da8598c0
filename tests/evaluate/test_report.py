"""The report's two files, and what the page says."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_reports import make_report

from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.evaluate.rank_correlation import Correlation
from pluralign.evaluate.report.model import Report, WeightPoint, read_report
from pluralign.evaluate.report.page import make_page, write_report
from pluralign.evaluate.report.words import compare, headline, takeaway, trend
from pluralign.evaluate.statistics import Estimate

VOID = {"meta", "link", "br", "path", "use", "img", "input", "hr"}


class Page(HTMLParser):
    """Notes tags, ids and text; fails where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page_text() -> str:
    return make_page(make_report(title="Glass & <Quarter>"))


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both files of a report."""
    return write_report(make_report(), tmp_path_factory.mktemp("written") / "out")


def test_both_files_are_written_and_the_report_comes_back(written: tuple[Path, Path]) -> None:
    report, (data, page) = make_report(), written
    assert sorted(p.name for p in data.parent.iterdir()) == ["report.html", "report.json"]
    assert read_report(data) == report
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    row = json.loads(data.read_text(encoding="utf-8"), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))
    assert row["policies"]["random"]["violations"]["mean"] == 4.4
    assert set(row["sweep"][0]) >= {"weights", "returns", "stderr", "metrics"}
    assert row["exact_front"][0] == {"score": 6.0, "harm_avoidance": 0.0}
    for key in ("story", "objectives", "hypervolume_ratio", "rater_kappa", "seconds"):
        assert key in row


def test_an_interval_that_is_everything_comes_back_from_json(tmp_path: Path) -> None:
    everything = Estimate(2.0, math.inf, -math.inf, math.inf)
    report = make_report(hypervolume_interval=(-math.inf, math.inf))
    sweep = [replace(one, metrics={**one.metrics, "power": everything}) for one in report.sweep]
    report = replace(report, sweep=tuple(sweep))
    write_json(tmp_path / "report.json", report.to_json())
    assert "Infinity" not in (tmp_path / "report.json").read_text()
    assert read_report(tmp_path / "report.json") == report


def test_the_same_report_gives_the_same_page(written: tuple[Path, Path]) -> None:
    assert make_page(make_report()) == written[1].read_text(encoding="utf-8")


def test_the_page_asks_for_nothing(page_text: str, page: Page) -> None:
    for attribute in ("src", "srcset", "data", "action", "poster"):
        assert not [tag for tag, attrs in page.tags if attribute in attrs]
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k == "href"]
    assert all(link is not None and link.startswith("#") for link in links)
    assert all(found.startswith("#") for found in re.findall(r"url\(['\"]?([^)]*)", page_text))
    assert not {"script", "link", "iframe", "object", "image", "img", "base"} & {tag for tag, _ in page.tags}
    assert "@import" not in page_text
    # The only addresses are XML namespaces.
    assert set(re.findall(r"https?://[^\"' <]*", page_text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_page_is_made_for_reading(page_text: str, page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["content"] == "width=device-width,initial-scale=1"
    assert "prefers-color-scheme:dark" in page_text
    drawings = page.all("svg")
    assert len(drawings) == 8
    assert all(d["role"] == "img" and len(d["aria-label"] or "") > 60 for d in drawings)
    assert Counter(d["class"] for d in drawings) == {"broad": 4, "narrow": 4}
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("use") if a["href"]} <= set(ids)
    headings = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert headings[:4] == ["h1", "h2", "h2", "h2"]
    assert len(page.all("table")) == len(page.all("caption")) == 4
    assert {attrs.get("scope") for attrs in page.all("th")} == {"col", "row"}


def test_colours_follow_the_scheme(page_text: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page_text, flags=re.DOTALL))
    assert "var(--ink)" in drawings
    assert "color-mix(in oklch, var(--first) 30%, var(--second))" in drawings
    assert not re.findall(r"#0[0-9a-f]{5}\b", drawings), "a stand-in is left"


def test_text_is_escaped(page_text: str) -> None:
    assert "Glass &amp; &lt;Quarter&gt;" in page_text
    assert "<Quarter>" not in page_text


def test_the_tables_hold_the_figures(page: Page) -> None:
    words = " ".join(page.words)
    for text in (
        "240.5",
        "± 1.8",
        "48.00",
        "SmolLM2-135M told to be good",
        "74\u00a0s",
        "κ 0.71",
        "glass_quarter",
    ):
        assert text in words


def test_a_page_without_the_optional_parts() -> None:
    bare = make_report(
        retrained=(),
        spearman=None,
        optimum_share={},
        data={},
        settings={},
        versions={},
        notes=(),
        rater_kappas={},
    )
    text = make_page(bare)
    Page(text)
    assert "trained for" not in text.lower()
    alone = replace(bare, policies={"random": bare.policies["random"]})
    words = " ".join(Page(make_page(alone)).words)
    assert "No language model played in this run" in words
    assert "DRRN" not in words


def without_front(report: Report) -> Report:
    unknown = replace(report, exact_front=(), worst={}, best={}, optimum_share={})
    return replace(unknown, hypervolume_ratio=None, hypervolume_interval=None)


def without_violations(report: Report) -> Report:
    zero = Estimate(0.0, 0.0, 0.0, 0.0)

    def quiet(points: tuple[WeightPoint, ...]) -> tuple[WeightPoint, ...]:
        return tuple(replace(p, metrics=dict.fromkeys(p.metrics, zero)) for p in points)

    policies = {name: dict.fromkeys(row, zero) for name, row in report.policies.items()}
    return replace(report, policies=policies, sweep=quiet(report.sweep), retrained=quiet(report.retrained))


def test_a_report_without_an_exact_front(tmp_path: Path, written: tuple[Path, Path]) -> None:
    report = without_front(make_report(other_ratios={}))
    data, path = write_report(report, tmp_path)
    assert read_report(data) == report
    text = path.read_text(encoding="utf-8")
    Page(text)
    assert "hypervolume’s" not in text
    assert "exact Pareto front" not in text
    assert "states cannot be explored" in text
    assert "Attainable mean return" not in text
    assert "At the same weights" not in takeaway(report)
    assert written[1].read_text(encoding="utf-8").count("exact Pareto front") == 4


def test_a_report_of_a_story_without_violations() -> None:
    report = without_violations(make_report(spearman=Correlation(0.98, 0.9, 1.0, 11)))
    assert not report.has_violations
    assert headline(report).endswith("trades score for harm avoidance, with no retraining")
    text = takeaway(report)
    assert "the mean harm avoidance rose from −7.1 to −0.9, and the mean score fell from 48 to 18" in text
    assert "violations" not in text
    assert "the mean harm avoidance rose with the weight on harm avoidance (Spearman" in trend(report)
    fell = replace(report, spearman=Correlation(-0.98, -1.0, -0.9, 11))
    assert "fell as the weight on harm avoidance rose, which it should not (Spearman" in trend(fell)
    assert compare(report, ["DRRN"], "random") == (
        "Against random, DRRN shows more score and less harm avoidance."
    )
    page = Page(make_page(report))
    assert not {"disutility", "violations"} & {word.strip() for word in page.words}
    assert len(page.all("svg")) == 4
    flat = without_violations(make_report(violations=lambda w: 3.0))
    assert headline(flat).endswith("made no measurable difference to harm avoidance")
    free = without_violations(make_report(score=lambda w: 30.0))
    assert headline(free).endswith("raises harm avoidance, with no retraining")
    wrong = without_violations(make_report(violations=lambda w: 6.0 - 4 * w))
    assert headline(wrong).endswith("lowered harm avoidance: this run did not work")


def test_reports_that_do_not_fit_are_refused(tmp_path: Path, written: tuple[Path, Path]) -> None:
    report = make_report()
    with pytest.raises(InputError, match="two objectives"):
        replace(report, objectives=("score",))
    with pytest.raises(InputError, match="two weightings"):
        replace(report, sweep=report.sweep[:1])
    with pytest.raises(InputError, match="'DRRN' is missing"):
        replace(report, kinds={"random": "random"})
    with pytest.raises(InputError, match=r"kinds\.random"):
        replace(report, kinds={**report.kinds, "random": "dice"})
    with pytest.raises(InputError, match="violations"):
        replace(report, sweep=(report.sweep[0], replace(report.sweep[1], metrics={})))
    path, row = tmp_path / "report.json", json.loads(written[0].read_text())
    for broken, message in (
        ({**row, "version": 2}, "version 1"),
        ({k: v for k, v in row.items() if k != "story"}, "'story': is missing"),
        ({**row, "seconds": "long"}, "'seconds': expected int or float"),
        ({**row, "sweep": [{"weights": {"score": 2.0}}]}, "is no report"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            read_report(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path / "absent.json")


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(make_report(), tmp_path / "file" / "folder")


def test_importing_evaluation_imports_no_drawing() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pluralign.evaluate.sweeps.stories, pluralign.evaluate.hypervolume;"
        "import pluralign.evaluate.report.page, pluralign.steer.steered_policy;"
        "print([m for m in ('matplotlib', 'scipy.stats', 'moocore', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
