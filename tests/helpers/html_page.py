"""A page of HTML, read by the parser of the standard library."""

import html.parser


class Page(html.parser.HTMLParser):
    """Collects tags with attributes, and text, and checks that tags are closed in order."""

    VOID = ("meta", "img", "br", "input")

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())

    def named(self, tag, kind=None):
        """Return the attributes of every element of a tag, and of a class if that is asked for."""
        chosen = [attrs for name, attrs in self.tags if name == tag]
        return [attrs for attrs in chosen if kind is None or kind in attrs.get("class", "").split()]
