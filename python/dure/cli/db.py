"""`dure db upgrade|downgrade|current`: the revision of the service's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

from ._service import database_of, settings_of
from .output import print_json, say
from .places import data_folder

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Run one of the three."""
    from dure.db import schema

    settings = settings_of(options)
    data_folder(options).mkdir(mode=0o700, parents=True, exist_ok=True)
    database = database_of(settings)
    if options.action == "upgrade":
        found = schema.upgrade(
            database.url, schema=database.schema, revision=options.revision or "head"
        )
    elif options.action == "downgrade":
        if options.revision is None:
            raise InvalidArgumentError(
                "say to which revision, or `base` to drop every table", argument="revision"
            )
        found = schema.downgrade(database.url, options.revision, schema=database.schema)
    else:
        found = schema.current(database.url, schema=database.schema) or ""
    if options.json:
        print_json({"revision": found or None})
    else:
        say(f"revision {found}" if found else "no revision: dure does not use this database")
    return 0
