"""Reading a judge's reply: the score that is its verdict, and its reason.

The score is asked for as a JSON object, and read from whatever a model answers with. A reply may contain several: that
of the output that it quotes, of an example, of a draft, and its own. Scores that are quoted, supposed or withdrawn
never count. Of the others, a score marked as final or overall wins, then one that is set apart (an object, a labelled
line such as `**Score:** 8/10`, a tag) over one in a sentence. If two of these differ, there is no score.
"""

from lfexp_mcp.judges.reply.reader import JudgeReply, read_reply

__all__ = ["JudgeReply", "read_reply"]
