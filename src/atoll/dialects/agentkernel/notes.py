"""What agentkernel writes down of a sandbox and Atoll has no field for: labels of its own.

They are seen as labels in the native API, and as fields here.
"""

from collections.abc import Mapping

from atoll.dialects.agentkernel.errors import BadRequest

PREFIX = "agentkernel."
# The image as the client named it; a table decides what it is here.
IMAGE = "image"
NOTES = (IMAGE, "description", "created_from_template", "template_help_text")
LONGEST = 256


def plain(labels: Mapping[str, str]) -> dict[str, str]:
    """The client's own labels."""
    return {key: value for key, value in labels.items() if not key.startswith(PREFIX)}


def notes(labels: Mapping[str, str]) -> dict[str, str]:
    """The fields that there are."""
    return {name: labels[PREFIX + name] for name in NOTES if PREFIX + name in labels}


def labelled(labels: Mapping[str, str], said: Mapping[str, str | None]) -> dict[str, str]:
    """All labels of a sandbox; `BadRequest` for what cannot be one."""
    for key in labels:
        if key.startswith(PREFIX):
            raise BadRequest(f"Labels may not begin with '{PREFIX}'")
    kept = {name: text for name, text in said.items() if text}
    for name, text in kept.items():
        if len(text) > LONGEST:
            raise BadRequest(f"{name} may have at most {LONGEST} characters")
    return {**labels, **{PREFIX + name: text for name, text in kept.items()}}
