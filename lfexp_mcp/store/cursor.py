"""Cursors of pages: the sort key of the last row, as base64url of JSON, in Langfuse's own forms."""

import base64
import binascii
import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from lfexp_mcp.store.http_errors import InvalidRequestError


class Cursor(BaseModel):
    """Base of the cursors: where the next page begins."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    def encode(self) -> str:
        """Write the cursor for `meta.cursor`."""
        content = json.dumps(self.model_dump(by_alias=True), separators=(",", ":"), ensure_ascii=False)
        return base64.urlsafe_b64encode(content.encode("utf-8")).decode("ascii").rstrip("=")


Kind = TypeVar("Kind", bound=Cursor)


def decode_cursor(kind: type[Kind], text: str) -> Kind:
    """Read a cursor that a client sent back.

    Raises:
        InvalidRequestError: It is not one of this kind.
    """
    try:
        content = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return kind.model_validate_json(content)
    except (ValidationError, binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidRequestError.at("cursor", "Invalid cursor format") from error
