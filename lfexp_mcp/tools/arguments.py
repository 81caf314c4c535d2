"""Arguments that several tools take, described once for the model that fills them in."""

from typing import Annotated, Literal

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
