"""A model's numbers: its sizes, its parameters, how it is split over ranks, the memory that takes."""
