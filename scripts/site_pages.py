"""Hooks of mkdocs: pages of the site that have their home elsewhere in the repository, and those that are made from the program itself."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import streammat

log = logging.getLogger("mkdocs.hooks.site_pages")
ROOT = Path(__file__).resolve().parents[1]
HOMES = {
    "index.md": "README.md",
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "examples.md": "examples/README.md",
}
"""Pages, and the files of the repository that they are."""
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_WHOLE = r'<span class="option">\g<0></span>'
OPTIONS = ("MattingOptions", "MatteControls", "VideoOptions", "LiveOptions")
"""Classes of `streammat.config` that say what keyword arguments mean."""
TRAINING = "# Training commands\n\n`streammat-train COMMAND` (`pip install '.[train]'`); [lite_training.md](lite_training.md#train-it-again) has them in their order.\n\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for name, home in HOMES.items():
        files.append(File.generated(config, name, content=(ROOT / home).read_text(encoding="utf-8")))
    files.append(File.generated(config, "training.md", content=TRAINING + "<!-- commands: -->\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is made, and lead links to where their targets are on the site."""
    del config
    name = page.file.src_uri
    if name == "api.md":
        markdown = re.sub(r"<!-- reference:.*?-->", lambda _: _reference(), markdown)
    if name in ("command_line.md", "training.md"):
        markdown = re.sub(r"<!-- commands:.*?-->", lambda _: _commands(training=name == "training.md"), markdown)
    home = HOMES.get(name, f"docs/{name}")
    return _lists(re.sub(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)", lambda link: _link(link, home, name, files), _drawings(markdown)))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Options are not broken after their dashes."""
    del page, config, files
    return re.sub(r"<code>([^<]*--[^<]*)</code>", lambda code: f"<code>{_OPTION.sub(_WHOLE, code[1])}</code>", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Nothing that a browser loads by itself comes from elsewhere."""
    del config
    for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>", output):
        log.warning("%s: %s is loaded from elsewhere; expected files of the site alone", page.file.src_uri, tag)
    return output


def _link(link: re.Match[str], home: str, name: str, files: Files) -> str:
    """A link of the repository's file ``home`` as it is on the site's page ``name``; its words alone where the site has no such page."""
    mark, words, target, anchor = link.groups()
    path = os.path.normpath(os.path.join(os.path.dirname(home), target))
    place = {there: page for page, there in HOMES.items()}.get(path, path.removeprefix("docs/"))
    if files.get_file_from_path(place) is None:
        if not (ROOT / path).exists():
            return link[0]  # mkdocs warns of it
        return words  # in the repository alone
    if words.endswith(".md"):  # a file's name in the repository, a page's on the site
        words = words.rpartition("/")[2].removesuffix(".md").replace("_", " ")
    return f"{mark}[{words}]({os.path.relpath(place, os.path.dirname(name) or '.')}{anchor or ''})"


def _lists(markdown: str) -> str:
    """A blank line before lists that follow a paragraph: GitHub needs none, Python-Markdown does."""
    lines: list[str] = []
    code = False
    for line in markdown.splitlines():
        code ^= line.startswith("```")
        if not code and re.match(r"(- |\d+\. )", line) and lines and lines[-1] and not re.match(r"(- |\d+\. |\s|#)", lines[-1]):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _drawings(markdown: str) -> str:
    """Mermaid's drawings as the images that `scripts/drawings.py` made of them, since Mermaid itself would be loaded from elsewhere."""

    def image(block: re.Match[str]) -> str:
        name = block[1].splitlines()[0].removeprefix("%% ")
        path = ROOT / f"docs/drawings/{name}.svg"
        if not path.is_file() or hashlib.sha256(block[1].encode()).hexdigest() not in path.read_text(encoding="utf-8"):
            log.warning("%s: is not what the block in ARCHITECTURE.md draws; run scripts/drawings.py", path)
        return f"![{name.replace('_', ' ')}](docs/drawings/{name}.svg){{ .drawing }}"

    return re.sub(r"```mermaid\n(.*?)```", image, markdown, flags=re.DOTALL)


def _reference() -> str:
    """Directives of mkdocstrings for every public name of `streammat`."""
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in streammat.__all__:
        value = getattr(streammat, name)
        if inspect.isfunction(value):
            kinds["Functions"].append(f"streammat.{name}")
        elif inspect.isclass(value):
            kinds["Errors" if issubclass(value, Exception) else "Classes"].append(f"streammat.{name}")
    whole = "\n    options:\n      filters: ['!^_']\n      inherited_members: true\n      show_if_no_docstring: true"
    own = whole.replace("inherited_members: true", "inherited_members: false").replace("'!^_'", "'!^_', '!^event$'")
    kinds["Events"] = [f"streammat.events{own}"]
    kinds["Options"] = [f"streammat.config.{name}{whole}" for name in OPTIONS]
    return "\n\n".join(f"## {kind}\n\n" + "\n\n".join(f"::: {path}" for path in paths) for kind, paths in kinds.items())


def _commands(*, training: bool) -> str:
    """Every command with its options, as ``--help`` has them."""
    if training:
        from streammat.train.cli import main

        program: click.Command = main
    else:
        from streammat.cli import main as program
    name = "streammat-train" if training else "streammat"
    return "\n\n".join(_command(program, click.Context(program, info_name=name)))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        yield f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}"
        yield re.sub(r"^\x08\n((?:.+\n?)+)", r"```text\n\1\n```\n", inspect.cleandoc(command.help or ""), flags=re.MULTILINE)
        yield f"```text\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
        yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            each = command.get_command(context, name)
            assert each is not None
            yield from _command(each, click.Context(each, info_name=name, parent=context))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record: Any = parameter.get_help_record(context)
        if record is not None and record[1] and "--help" not in record[0]:
            words, told = (re.sub(r"\s+", " ", text) for text in record)
            told = re.sub(r"([*|\[\]])", r"\\\1", told).replace("<", "&lt;")
            groups.setdefault(getattr(parameter, "group", "Options"), []).append(f"| `{words}` | {told} |")
    for group, rows in groups.items():
        yield f"| {group} | |\n|---|---|\n" + "\n".join(rows)
