"""The README cannot rot: its commands are those that CI runs, and what it names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from media import probe, write_clip
from PIL import Image
from running import QUICK, REPOSITORY, call

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
FILES = (REPOSITORY / "docs/files.md").read_text(encoding="utf-8")
PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "examples/README.md"]


@pytest.mark.parametrize(("name", "index"), [("run", 0), ("test", 1)])
def test_ci_runs_the_commands_that_open_the_readme(name: str, index: int) -> None:
    """``.ci/run`` takes its first two steps from the README, word for word."""
    shown = subprocess.run(
        [sys.executable, "scripts/readme-command", name], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert shown == BLOCKS[index]
    script = (REPOSITORY / ".ci" / "run").read_text()
    steps = re.findall(r"^scripts/readme-command (\w+) \| bash", script, re.MULTILINE)
    assert steps == ["run", "test"]


def test_the_commands_open_the_readme() -> None:
    """A title, a sentence, an image and a line each come before them; each is one command line."""
    head = README.split(BLOCKS[1])[0]
    assert len([line for line in head.splitlines() if line.strip()]) <= 9
    assert len(README.splitlines()) < 130
    for block in BLOCKS[:2]:
        assert len(block.strip().splitlines()) == 1
    assert "pip install" in BLOCKS[0]
    assert "pytest" in BLOCKS[1]


def test_the_first_command_s_own_words_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last part, shortened to ten frames, into another folder."""
    monkeypatch.chdir(REPOSITORY)
    words = shlex.split(BLOCKS[0].split("&&")[-1])
    assert words[0].endswith("streammat")
    assert words[1:3] == ["video", "examples/portrait.mp4"]
    target = tmp_path / words[3]
    call("video", words[2], target, *words[4:], *QUICK, "--duration", "0.4").ok()
    assert probe(target).frames == 10
    assert probe(target).size == (960, 540)


def test_options_are_real() -> None:
    """Every option that the README and the pages for users name is in the help of a command."""
    commands = ([], ["video"], ["batch"], ["image"], ["bench"], ["webcam"], ["devices"], ["doctor"], ["model", "import"], ["model", "list"], ["model", "export"],
                ["engine", "build"])
    told = "".join(call(*words, "--help").ok().out for words in commands)
    users = README + "".join((REPOSITORY / f"docs/{name}.md").read_text() for name in ("files", "film", "live", "command_line", "troubleshooting", "limits"))
    text = users + "".join((REPOSITORY / name).read_text() for name in ("examples/README.md", "docs/engines.md", "docs/models.md"))
    # In backquotes, and in blocks of commands, whose comments are left out.
    shown = re.findall(r"`streammat ([^`\n]*)`", text) + re.findall(r"^streammat ([^#\n]*)", text, re.MULTILINE)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(shown)))
    options |= set(re.findall(r"`(--[a-z][a-z-]+)", users))
    missing = sorted(option for option in options if not re.search(rf"{option}\b", told))
    assert missing == []
    assert len(options) > 5


def test_codecs_of_the_outputs_table() -> None:
    """The table names each container's codecs, the default first, as the program has them."""
    from streammat.sinks.codecs import CONTAINERS

    rows = dict(re.findall(r"^\| `(\.\w+)` \| ([\w, ]+) \|", FILES, re.MULTILINE))
    for suffix, codecs in rows.items():
        assert tuple(codecs.split(", ")) == CONTAINERS[suffix].codecs, suffix
    assert {".mp4", ".mov", ".mkv", ".webm"} <= set(rows)


def test_links_and_images_are_there() -> None:
    """Relative links of every page point at files."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_links_every_document() -> None:
    """Each page for readers is one click away; the decisions have a list of their own."""
    linked = {(REPOSITORY / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", README) if "://" not in target}
    pages = {page for page in PAGES if page.parent.name != "decisions" and page.name not in {"README.md", "SECURITY.md"}}
    assert sorted(page.name for page in pages - linked) == []


def test_the_map_is_that_of_the_tree() -> None:
    """Each folder and each module beside folders has its place in ARCHITECTURE.md, and nothing else has."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for top in ("streammat", "engines", "train"):
        table = text.partition(f"| `{top}/` |")[2].partition("\n\n")[0]
        named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w/.]+)`", row.split("|")[1])}
        folders = {f"{path.parent.name}/" for path in (REPOSITORY / top).glob("*/__init__.py") if not path.parent.is_symlink()}
        modules = {path.name for path in (REPOSITORY / top).glob("*.py") if not path.name.startswith("__")}
        assert folders - named == set(), top
        assert named - folders - modules == set(), top
        assert modules - named <= {"errors.py"}, top


def test_the_readme_s_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, on a photograph and a clip of the names that it uses."""
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "in.mp4", frames=2)
    for name, size in (("me.jpg", (96, 64)), ("beach.jpg", (192, 108))):
        Image.open(REPOSITORY / "examples/beach.jpg").resize(size).save(tmp_path / name)
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["rgba"].shape == (64, 96, 4)
    assert names["alpha"].dtype == "float32"
    assert probe(tmp_path / "out.mp4").frames == 2


def test_example_files_are_small_and_there() -> None:
    """The example that the first command needs lies in the repository, under 2 MB in all."""
    files = [
        REPOSITORY / "examples" / name for name in ("portrait.mp4", "portrait_alpha.mkv", "beach.jpg", "astronaut_alpha.png")
    ]
    assert all(path.is_file() for path in files)
    assert sum(path.stat().st_size for path in files) < 2_000_000
    clip, truth = probe(files[0]), probe(files[1])
    assert clip.frames == truth.frames == 125
    assert clip.size == truth.size == (960, 540)
    assert clip.times == truth.times
    assert len(clip.audio) == 1
