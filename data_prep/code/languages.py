"""The languages that can be mined, by name and by the suffix of a file."""

from __future__ import annotations

from collections.abc import Collection

from data_prep.code.go import GO
from data_prep.code.grammar import is_installed, load, missing
from data_prep.code.java import JAVA
from data_prep.code.javascript import JAVASCRIPT
from data_prep.code.language import Language
from data_prep.code.php import PHP
from data_prep.code.python import PYTHON
from data_prep.code.ruby import RUBY
from data_prep.errors import DataError

LANGUAGES = {one.name: one for one in (PYTHON, JAVA, JAVASCRIPT, PHP, RUBY, GO)}


def choose(names: Collection[str] | None) -> list[Language]:
    """The languages of these names; of all whose grammar is installed if ``names`` is None.

    Raises:
        DataError: a name is unknown, its grammar is not installed, or none is.
    """
    if names is None:
        chosen = [one for one in LANGUAGES.values() if is_installed(one.name)]
        if not chosen:
            raise missing("python")
        return chosen
    for name in names:
        if name not in LANGUAGES:
            raise DataError(f"--languages {name}: unknown; there are {', '.join(LANGUAGES)}")
        load(name)
    return [one for name, one in LANGUAGES.items() if name in names]
