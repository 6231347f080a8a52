"""Reading pages: which links a text has, and what a page says of itself."""

import re
from html.parser import HTMLParser

LINK = re.compile(r"https?://[^\s<>\"]+")
TITLE_CHARS = 200
DESCRIPTION_CHARS = 400


def links(text, most):
    """The first links of a text, each once, without the punctuation that ends a sentence."""
    found = []
    for link in LINK.findall(text):
        link = link.rstrip(".,;:!?)]}'")
        if link not in found:
            found.append(link)
    return found[:most]


class Head(HTMLParser):
    """Gathers the title and the `meta` of a page."""

    def __init__(self):
        super().__init__()
        self.meta = {}
        self.title = ""
        self._in_title = False

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "title":
            self._in_title = True
        elif tag == "meta":
            name = (attrs.get("property") or attrs.get("name") or "").lower()
            if attrs.get("content"):
                self.meta.setdefault(name, attrs["content"])

    def handle_endtag(self, tag):
        if tag == "title":
            self._in_title = False

    def handle_data(self, data):
        if self._in_title:
            self.title += data


def shortened(text, chars):
    text = " ".join(text.split())
    return text if len(text) <= chars else text[: chars - 1] + "…"


def preview(url, html):
    """What to show of a page (Open Graph, else title and description); None if it says nothing of itself."""
    head = Head()
    head.feed(html)
    title = shortened(head.meta.get("og:title") or head.title, TITLE_CHARS)
    if not title:
        return None
    description = head.meta.get("og:description") or head.meta.get("description") or ""
    return {"url": url, "title": title, "description": shortened(description, DESCRIPTION_CHARS)}
