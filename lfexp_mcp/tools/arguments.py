"""Arguments that several tools take, described once for the model that fills them in; and how arguments are read."""

from typing import Annotated, Any, Literal, get_args

from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata
from pydantic import Field

DatasetName = Annotated[str, Field(min_length=1, description="Name of the Langfuse dataset.")]
RunName = Annotated[str, Field(min_length=1, description="Name of the run within its dataset.")]
Cursor = Annotated[str | None, Field(description="`next_cursor` of the previous answer, for the page after it.")]
Limit = Annotated[int, Field(ge=1, le=100, description="Entries in a page.")]
ListedItems = Annotated[int, Field(ge=1, le=100, description="Items listed in each group.")]
Detail = Annotated[
    Literal["summary", "full"],
    Field(description="`full` gives texts uncut; `summary` cuts long ones and states their length."),
]
ScriptPath = Annotated[
    str | None,
    Field(description="Absolute path of a .py file, or relative to the server's working directory."),
]


class GivenArguments(FuncMetadata):
    """Reads a call's arguments, and leaves texts as they were given.

    The SDK parses every string as JSON whose argument may also be something else, since some clients send lists and
    objects that way. An optional text is only ever a text: an item whose id is `null` is not "no item".
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """Parse what may be a list or an object in a string; see `FuncMetadata`."""
        fields = self.arg_model.model_fields
        texts = {
            name for name in data if name in fields and set(get_args(fields[name].annotation)) == {str, type(None)}
        }
        parsed = super().pre_parse_json({name: value for name, value in data.items() if name not in texts})
        return {name: data[name] if name in texts else parsed[name] for name in data}
