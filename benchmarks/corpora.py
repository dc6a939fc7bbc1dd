"""Real texts for the benchmarks, from Debian's documentation packages and the running Python.

Fetched once into build/corpora by `apt-get download` (some 260 MB); never committed, never in the
wheel.
"""

from __future__ import annotations

import hashlib
import html
import re
import subprocess
import sysconfig
import zipfile
from pathlib import Path

from tests.quality.corpora import messages

CORPORA = Path(__file__).parents[1] / "build" / "corpora"
PACKAGES = (
    "debian-handbook",
    "gimp-help-ko",
    "installation-guide-amd64",
    "libreoffice-help-ko",
    "python3.11-doc",
    # Korean: manuals and translations of programs.
    "debian-faq-ko",
    "digikam-data",
    "evolution-common",
    "firefox-esr-l10n-ko",
    "git",
    "gnome-user-docs",
    "gnucash-common",
    "iso-codes",
    "inkscape",
    "krita-l10n",
    "libreoffice-l10n-ko",
    "mediawiki",
    "phpmyadmin",
    "thunderbird-l10n-ko",
    "vlc-l10n",
    "wordpress-l10n",
)
# Another list of packages is another text.
FOLDER = CORPORA / hashlib.sha1("".join(PACKAGES).encode(), usedforsecurity=False).hexdigest()[:8]
TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)
BLANK = re.compile(r"\n\s*\n\s*")
HANGUL = re.compile("[가-힣]")
KOREAN_FILE = re.compile(r"[/_.-]ko(_KR|-KR)?[/_.@]")
NAME = re.compile(r'^([\w.-]+ *= *|\s*"[^"\n]*": *")', re.MULTILINE)  # of a translation


def _unpacked() -> Path:
    root = FOLDER / "packages"
    if not root.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=FOLDER, check=True)
        for package in sorted(FOLDER.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
            package.unlink()
    return root


def _plain(page: str) -> str:
    return BLANK.sub("\n\n", html.unescape(TAG.sub("", page))).strip() + "\n\n"


def _pages(*folders: Path) -> str:
    pages = [page for folder in folders for page in sorted(folder.rglob("*.html"))]
    return "".join(_plain(page.read_text(errors="replace")) for page in pages)


def _catalogue(path: Path) -> str:
    """The text of a file with translations: gettext, a browser's archive, or plain."""
    if path.suffix == ".mo":
        return messages(path)
    if path.suffix == ".xpi":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith((".ftl", ".properties", ".dtd"))]
            lines = "\n".join(archive.read(name).decode("utf-8", "replace") for name in names)
        return NAME.sub("", lines)
    if path.suffix in {".html", ".page", ".txt", ".xhtml", ".ftl", ".json", ".xml"}:
        return html.unescape(TAG.sub("", NAME.sub("", path.read_text("utf-8", "replace"))))
    return ""


def _translations(root: Path) -> str:
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    korean = sorted(path for path in files if KOREAN_FILE.search(str(path.relative_to(root))))
    return "\n".join(_catalogue(path) for path in korean)


def _korean_lines(text: str) -> str:
    """Each line with Hangul once: help pages repeat their frames and are partly English."""
    lines = dict.fromkeys(line for line in text.splitlines() if HANGUL.search(line))
    return "\n".join(lines) + "\n"


def _make(language: str) -> str:
    share = _unpacked() / "usr" / "share"
    doc = share / "doc"
    if language == "english":
        return _pages(
            doc / "debian-handbook" / "html" / "en-US",
            doc / "installation-guide-amd64" / "en",
            doc / "python3.11" / "html",
        )
    if language == "korean":
        guides = _pages(
            doc / "installation-guide-amd64" / "ko", doc / "debian-handbook" / "html" / "ko-KR"
        )
        office = _pages(share / "libreoffice" / "help" / "ko")
        images = _pages(share / "gimp" / "2.0" / "help" / "ko")
        return guides + _korean_lines(office + images + _translations(_unpacked()))
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    return "".join(path.read_text(errors="replace") for path in files)


def corpus(language: str, megabytes: float) -> str:
    """Return up to `megabytes` (UTF-8) of distinct text: english, korean or code."""
    cache = FOLDER / f"{language}.txt"
    if not cache.exists():
        text = _make(language)
        FOLDER.mkdir(parents=True, exist_ok=True)
        cache.write_text(text, encoding="utf-8")
    data = cache.read_bytes()[: int(megabytes * 1e6)]
    return data.decode("utf-8", errors="ignore")


def markdown(language: str, megabytes: float) -> str:
    """Return up to `megabytes` of Markdown with headings, lists, tables and code.

    The manuals' pages as the product's own loader writes them down.
    """
    cache = FOLDER / f"{language}.md"
    if not cache.exists():
        from dure import files

        doc = _unpacked() / "usr" / "share" / "doc"
        folders = {
            "english": [doc / "debian-handbook/html/en-US", doc / "python3.11/html/library"],
            "korean": [doc / "installation-guide-amd64/ko", doc / "debian-handbook/html/ko-KR"],
        }[language]
        pages = [page for folder in folders for page in sorted(folder.rglob("*.html"))]
        texts = [files.load(page).text for page in pages[:150]]
        cache.write_text("\n".join(texts), encoding="utf-8")
    data = cache.read_bytes()[: int(megabytes * 1e6)]
    return data.decode("utf-8", errors="ignore")


def fresh(text: str) -> str:
    """Return a new str object with the same contents: nothing cached inside it."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
