"""What MkDocs is told beside mkdocs.yml: reference pages from the code, and pages for files that lie outside docs.

A page that says `<!-- commands -->`, `<!-- recipe keys -->` or `<!-- names of onecycle.data -->` gets the reference in
its place. A link that leaves docs,
such as ../src/onecycle/training.py, leads on the site to a page of that file below files/.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import commands
import names
import outside
import recipe_keys

FILLED = {"<!-- commands -->": commands.reference, "<!-- recipe keys -->": recipe_keys.reference}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs that pages link to."""
    docs = Path(config.docs_dir)
    texts = {docs / file.src_uri: file.content_string for file in files.documentation_pages()}
    for file in outside.files(docs.parent, texts, config):
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what comes from the code, and turn links that leave docs."""
    for mark, text in FILLED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    markdown = names.MARK.sub(names.filled, markdown)
    if page.file.src_uri.startswith(outside.FOLDER):  # turned when it was made
        return markdown
    docs = Path(config.docs_dir)
    place = (docs / page.file.src_uri).parent
    return re.sub(outside.LINK, lambda link: outside.turned(link, place, docs.parent, page.file.src_uri), markdown)
