"""Checks the pages of a built site: every link within it leads somewhere, and nothing is loaded from a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"src", "srcset", "data", "poster"}  # attributes that make a browser fetch something


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads; pages inside of iframes count as its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "meta" and (said := dict(attributes)).get("name") == "miniapr-engine" and said.get("content"):
            self.loads.append(said["content"] or "")
        for name, value in attributes:
            if not value:
                continue
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name in LOADS or (name == "href" and tag == "link"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "srcdoc":
                self.loads += Page(value).loads
            elif name == "style":
                self.loads += re.findall(r"url\(['\"]?([^'\")]+)", value)


def problems(site: Path) -> list[str]:
    """One line for each link that leads nowhere, and for each file that would come from a network."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        here = file.relative_to(site)
        for link in page.links + page.loads:
            url = urlsplit(link)
            if url.scheme in ("data", "blob", "about", "javascript"):
                continue
            if url.scheme or url.netloc:
                if link in page.loads:
                    found.append(f"{here}: loads {link}")
                continue
            target = (file.parent / unquote(url.path)).resolve() if url.path else file
            if not target.exists():
                found.append(f"{here}: {link} is not there")
            elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
                found.append(f"{here}: {link} has no such anchor")
    for file in sorted(site.rglob("*.css")):
        for link in re.findall(r"(?:url\(['\"]?|@import ['\"])(https?:[^'\")]+)", file.read_text(encoding="utf-8")):
            found.append(f"{file.relative_to(site)}: loads {link}")
    return found
