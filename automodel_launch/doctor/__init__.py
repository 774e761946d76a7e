"""Is a place usable? What `doctor` asks of each kind of place, and how it judges what it gets."""
