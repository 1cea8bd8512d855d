"""The text of a policy file: JSON with a format, a version, and the fields of a policy."""

import json
from collections.abc import Collection
from typing import Any

from dtqatten.algorithm.policy_values import PolicyError

__all__ = ["FORMAT", "VERSION", "fields_of", "refuse_unknown", "text_of"]

#: What the file says it is.
FORMAT = "dtqatten-policy"
#: Version of the file format.
VERSION = 1
#: Fields of a layer that the text leaves out at these values.
DEFAULTS = {"heads": 1.0, "values": 1.0, "threshold": None}
#: Fields of a policy that the text leaves out at these values: texts from before there were these
#: options stay as they are.
LATER = {
    "p_follows_query": False,
    "unsigned_weights": False,
    "block_exponents": False,
    "center_queries": False,
    "gains": "largest",
}


def text_of(fields: dict[str, Any]) -> str:
    """Return the text of a policy with these fields; those of layers are left out at defaults."""
    content = {"format": FORMAT, "version": VERSION, **fields}
    content["protect"] = list(content["protect"])
    for name, usual in LATER.items():
        if content[name] == usual:
            del content[name]
    content["layers"] = [
        {k: v for k, v in layer.items() if k not in DEFAULTS or v != DEFAULTS[k]}
        for layer in content["layers"]
    ]
    return json.dumps(content, indent=2) + "\n"


def fields_of(text: str, names: Collection[str]) -> dict[str, Any]:
    """Read the fields of a policy, layers as a list of dictionaries.

    Parameters
    ----------
    text : str
        Of the file.
    names : collection of str
        Fields that there are.

    Raises
    ------
    PolicyError
        If the text is not JSON, of another format or version, or not of these fields and their
        kinds.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as e:
        raise PolicyError(f"a policy must be JSON: {e}") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise PolicyError(f'no policy: the field "format" must be "{FORMAT}"')
    version = content.pop("version", None)
    if version != VERSION:
        raise PolicyError(
            f"the policy has version {version!r}, this program reads {VERSION}: "
            "make it again with `dtqatten search`"
        )
    refuse_unknown("policy", content, names)
    layers = content.get("layers")
    if not isinstance(layers, list) or not all(isinstance(x, dict) for x in layers):
        raise PolicyError('"layers" must be a list of objects, one a layer')
    return content


def refuse_unknown(where: str, content: dict[str, Any], names: Collection[str]) -> None:
    """Refuse fields that there are not."""
    if odd := sorted(set(content) - set(names)):
        raise PolicyError(f"{where} has unknown fields {', '.join(odd)}: remove them")
