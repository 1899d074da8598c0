import io
import sys

import pytest

from pluralign.core.progress import ProgressBar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool = True) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar(4, "rows of a", unit="row", done=1, shown=shown) as bar:
        bar.advance(3)
        bar.note("loss 0.5")
    return stream.getvalue()


def test_a_terminal_sees_label_counts_and_note(monkeypatch: pytest.MonkeyPatch):
    text = _shown(monkeypatch, _Terminal())
    assert "rows of a" in text
    assert "4/4" in text
    assert "loss 0.5" in text


def test_nothing_is_written_elsewhere_or_where_no_bar_is_wanted(monkeypatch: pytest.MonkeyPatch):
    assert _shown(monkeypatch, io.StringIO()) == ""
    assert _shown(monkeypatch, _Terminal(), shown=False) == ""
