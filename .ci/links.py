"""Find dead links of a built site: ``python .ci/links.py FOLDER``.  Local ones alone; the network is left alone.

A link is dead if its file is not in the folder, or its page has no such anchor.  What a page would fetch from elsewhere
when it is opened (scripts, styles, pictures, fonts) is a fault, too: the site works offline.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if "href" in values and tag == "a":
            self.links.append(values["href"])
        if FETCHED.get(tag) in values and values.get("rel") not in ("canonical", "search"):
            self.fetched.append(values[FETCHED[tag]])


def faults(folder: Path) -> list[str]:
    """Return a line for each dead link, and for each thing that is fetched from elsewhere."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder)
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    found.append(f"{where} fetches {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{where}: no file {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where}: no anchor {link}")
    return found


if __name__ == "__main__":
    dead = faults(Path(sys.argv[1]).resolve())
    print("\n".join(dead) or "no dead link")
    sys.exit(bool(dead))
