from types import ModuleType

from dure._core import base as base
from dure._core import catalog as catalog
from dure._core import chunk as chunk
from dure._core import client as client
from dure._core import flow as flow
from dure._core import index as index
from dure._core import money as money
from dure._core import net as net
from dure._core import policy as policy
from dure._core import tokenize as tokenize

version: str
compiler: str
build_type: str
libraries: str
simd: str

def set_errors(errors: ModuleType) -> None: ...
