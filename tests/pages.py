# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""A strict reader of the HTML pages: tags nest and close, ids are unique, nothing is fetched from anywhere."""

import re
from html.parser import HTMLParser

VOID = frozenset({"meta", "input", "br"})
FETCHES = frozenset({"script", "link", "iframe", "object", "embed", "img", "image", "use", "video", "audio", "source"})
PHRASING = frozenset({"p", "span", "h1", "h2", "h3", "label", "summary", "code", "b", "i", "small"})
"""Elements that hold no block."""
BLOCKS = frozenset({"p", "div", "table", "details", "section", "h1", "h2", "h3", "nav", "header", "footer"})
PARENTS = {"tr": ("thead", "tbody"), "td": ("tr",), "th": ("tr",), "thead": ("table",), "tbody": ("table",)}


class Page(HTMLParser):
    """Parses a page and collects what tests ask for.

    Attributes:
        text: between tags, without the style sheet.
        ids: of all elements.
        label_for: what labels point to.
        unnamed: figures without a label for those who cannot see them.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.label_for: list[str] = []
        self.unnamed: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute of <{tag}> twice"
        assert tag not in FETCHES, f"<{tag}>"
        assert not {"src", "srcset", "href", "xlink:href", "action", "data", "background"} & values.keys(), values
        assert not any(name.startswith("on") for name in values), values
        self._check_place(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.label_for += [values["for"] or ""] if "for" in values else []
        if values.get("role") == "img" or (tag == "svg" and values.get("aria-hidden") != "true"):
            self.unnamed += [] if values.get("aria-label") else [tag]
        if tag not in VOID:
            self.open.append(tag)

    def _check_place(self, tag: str) -> None:
        if tag in BLOCKS:
            assert not PHRASING & set(self.open), f"<{tag}> in {self.open}"
        if tag in PARENTS:
            assert self.open[-1] in PARENTS[tag], f"<{tag}> in {self.open}"

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID, f"</{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(" ".join(self.text).split())


def check_page(html: str) -> Page:
    """Parse a page and check what holds for each: valid, labelled, self-contained."""
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.label_for) <= set(page.ids)
    assert page.unnamed == []
    assert not re.search(r"url\(|@import|https?://", html)
    assert "None" not in page.words()
    assert "Undefined" not in html
    return page


def theme(css: str, name: str) -> dict[str, str]:
    """Variables of the light or the dark theme; the dark one replaces some of the light one's."""
    blocks = re.findall(r":root \{(.*?)\}", css, re.S)
    variables = [dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks[:2]]
    light, dark = variables
    return light if name == "light" else light | dark


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of an sRGB colour of 0..255 (WCAG 2.1)."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(text: str) -> tuple[float, ...]:
    """A colour as #rrggbb or as three numbers."""
    if text.startswith("#"):
        return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(float(value) for value in text.split(","))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Contrast ratio of two colours (WCAG 2.1)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def over(colour: tuple[float, ...], opacity: float, ground: tuple[float, ...]) -> tuple[float, ...]:
    """What a translucent colour looks like on a ground."""
    return tuple(opacity * c + (1 - opacity) * g for c, g in zip(colour, ground, strict=True))
