"""What a transformers configuration says of a model beside its weights, for fingerprints."""

from __future__ import annotations

import json
from typing import Any

_NO_SHAPE = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")


def shape_of(config: Any) -> bytes:
    """The keys of a configuration that move vectors, as far as they differ from the defaults.

    Another version of transformers has more keys, and the same model: defaults are left out.
    """
    told = {key: value for key, value in config.to_diff_dict().items() if key not in _NO_SHAPE}
    return json.dumps(told, sort_keys=True, default=str).encode()
