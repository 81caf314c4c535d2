"""Creating the datasets and judges that runs are made of."""

from lfexp_mcp.model import PromptMessage
from lfexp_mcp.services.definitions.new_items import FieldNames, HoldoutArgument, ItemProgress, NewItem

__all__ = ["FieldNames", "HoldoutArgument", "ItemProgress", "NewItem", "PromptMessage"]
