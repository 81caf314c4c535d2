"""Read a judge's reply: the score that is its verdict, and its reason.

A score is asked for as a JSON object, and read from whatever a model answers with. A reply may state several: those of
the output that it quotes, an example's, a draft's, its own. What is quoted, supposed or taken back never counts. Of the
rest a score that is marked as final or overall wins, then one that stands apart (an object, a labelled line such as
`**Score:** 8/10`, a tag) over one in a sentence. Where two of these differ there is no score.
"""

from lfexp_mcp.judges.reply.reader import JudgeReply, read_reply

__all__ = ["JudgeReply", "read_reply"]
