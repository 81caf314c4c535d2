"""Answers as people read them: a few lines and tables, the same for the tools' text and for the shell."""
