import time

import pytest

from bench.text import printable, shortened


def alias_bomb(depth: int) -> list:
    value: list = ["x"]
    for _ in range(depth):
        value = [value] * 9
    return value


class TestShortened:
    @pytest.mark.parametrize("value", ["mini", "", 3, 0.5, None, ["a", 1], {"a": {"b": [1, 2]}}])
    def test_short_values_stay(self, value):
        assert shortened(value) == (value if isinstance(value, str) else repr(value))

    @pytest.mark.parametrize(
        "value", ["x" * 10_000, b"x" * 10_000, list(range(10_000)), 16**10_000, alias_bomb(40)], ids=type
    )
    @pytest.mark.parametrize("limit", [8, 80])
    def test_long_values_are_cut(self, value, limit):
        start = time.monotonic()
        text = shortened(value, limit)
        assert len(text) <= limit
        assert "..." in text
        assert time.monotonic() - start < 1

    def test_both_ends_show(self):
        assert shortened("/data/" + "x" * 500 + "/config.yaml").startswith("/data/")
        assert shortened("/data/" + "x" * 500 + "/config.yaml").endswith("/config.yaml")


class TestPrintable:
    @pytest.mark.parametrize("text", ["größe ± 3", "日本語", "a\tb\nc", "5\N{NO-BREAK SPACE}kg", ""])
    def test_text_stays(self, text):
        assert printable(text) == text

    @pytest.mark.parametrize("letter", ["\x1b", "\r", "\x07", "\x9b", "\u202e", "\u2028", "\udcff", "\0", "\x7f"])
    def test_what_a_terminal_acts_on_is_escaped(self, letter):
        text = printable(f"a{letter}[31mb")
        assert letter not in text
        assert text.isprintable()
        assert text.isascii()
