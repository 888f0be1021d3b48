#!/usr/bin/env python3
"""Draw the Mermaid blocks of ARCHITECTURE.md as docs/drawings/NAME.svg, for the site, which loads nothing from elsewhere.

    npm pack mermaid@11 && tar xzf mermaid-11.*.tgz package/dist/mermaid.min.js
    python scripts/drawings.py package/dist/mermaid.min.js

NAME is the comment in the first line of a block. Needs Chromium.
"""

import hashlib
import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = """<script src="{script}"></script><pre id="text">{text}</pre><div id="drawn"></div><script>
mermaid.initialize({{startOnLoad: false, theme: "neutral", htmlLabels: false, flowchart: {{htmlLabels: false}}}});
mermaid.render("drawing", document.getElementById("text").textContent).then(({{svg}}) => {{ document.getElementById("drawn").innerHTML = svg; }});
</script>"""


def main(script: str) -> None:
    """Draw every block."""
    folder = ROOT / "docs/drawings"
    folder.mkdir(exist_ok=True)
    for text in re.findall(r"```mermaid\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.DOTALL):
        name = text.splitlines()[0].removeprefix("%% ")
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "page.html"
            page.write_text(PAGE.format(script=Path(script).resolve().as_uri(), text=html.escape(text)), encoding="utf-8")
            words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        drawn = re.search(r'<div id="drawn">(<svg.*?</svg>)', shown, re.DOTALL)
        if drawn is None:
            sys.exit(f"{name}: nothing was drawn; expected a Mermaid block; look at {script} and at the block")
        source = f"<!-- sha256 of the block: {hashlib.sha256(text.encode()).hexdigest()} -->"
        # A file of its own has to be well-formed XML: HTML leaves line breaks open.
        svg = re.sub(r"<br\s*>", "<br/>", drawn[1]).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if "xmlns=" not in drawn[1] else drawn[1]
        (folder / f"{name}.svg").write_text(f"{source}\n{svg}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
