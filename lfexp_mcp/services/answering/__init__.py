"""What all answers share: room, pages, intervals, and what is said of strangers' texts."""
