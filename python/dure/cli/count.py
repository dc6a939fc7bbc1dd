"""`dure count FILE...`: tokens, characters and bytes of texts, exactly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dure.errors import DureError, FileRefusedError, InvalidArgumentError, InvalidModelError

from .output import complain, print_json, table

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Print one line per file and the total; a file that fails does not stop the others."""
    from dure import tokens

    encoding = _encoding(options)
    counted: list[dict[str, object]] = []
    failed = False
    for name in options.files:
        try:
            text = read_text(name)
        except (DureError, OSError) as error:
            failed = True
            complain(str(error) if isinstance(error, DureError) else f"{name}: {error.strerror}")
            continue
        counted.append(
            {
                "file": name,
                "tokens": tokens.count(text, encoding=encoding),
                "characters": len(text),
                "bytes": len(text.encode()),
            }
        )
    names = ("tokens", "characters", "bytes")
    total = {name: sum(int(str(line[name])) for line in counted) for name in names}
    if options.json:
        print_json({"encoding": encoding, "files": counted, "total": total})
    elif counted:
        lines = [[*(f"{line[name]:,}" for name in names), line["file"]] for line in counted]
        if len(counted) > 1:
            lines.append([*(f"{total[name]:,}" for name in names), "total"])
        table((*names, "file"), lines)
    return 1 if failed else 0


def read_text(name: str) -> str:
    """Return the text of a file, `-` for stdin.

    Text files are counted as they stand: UTF-8, UTF-16 or UTF-32 with a mark, CP949. Of a PDF, an
    Office document, an e-book or a HWP file it is the text that `dure ingest` reads in it.

    Raises:
        FileRefusedError: in none of these encodings (a guess is no exact count), or a document
            that cannot be read.
        MissingExtraError: the document's type needs a library that is not installed.
    """
    from dure import files
    from dure.files._kinds import signature_of

    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if name != "-" and signature_of(data) in {"pdf", "zip", "ole"}:
        return files.parse(name, data).text
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        text = _not_utf8(name, data)
        if text is not None:
            return text
        raise FileRefusedError(
            f"{name}: not UTF-8 at byte {wrong.start}: convert it first, for example with iconv",
            path=name,
            reason="not UTF-8",
        ) from None


def _not_utf8(name: str, data: bytes) -> str | None:
    """Return the text of an encoding that is told by its mark, or CP949; None for a guess."""
    from dure.files._decode import decode

    try:
        text, encoding = decode(name, data)
    except DureError:
        return None
    return text if encoding == "cp949" or encoding.startswith(("utf-16", "utf-32")) else None


def _encoding(options: argparse.Namespace) -> str:
    from difflib import get_close_matches

    from dure import tokens

    if options.model is None:
        return _known(options.encoding or "o200k_base")
    try:
        return str(tokens.encoding_name_for_model(options.model))
    except KeyError:
        near = get_close_matches(options.model, tokens.model.MODEL_TO_ENCODING)
        hint = f"did you mean {' or '.join(near)}? Else " if near else ""
        raise InvalidModelError(
            f"no encoding is known for model {options.model!r}: {hint}count with --encoding NAME",
            model=options.model,
        ) from None


def _known(name: str) -> str:
    """Return the name of an encoding.

    Raises:
        InvalidArgumentError: there is none; the message names near matches, else all.
    """
    from difflib import get_close_matches

    from dure import tokens

    names = tokens.list_encoding_names()
    if name in names:
        return name
    near = get_close_matches(name, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise InvalidArgumentError(f"no encoding is called {name!r}: {hint}", argument="encoding")
