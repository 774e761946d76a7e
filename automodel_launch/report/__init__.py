"""A run as its records tell it: all attempts joined, where the time went, and a page that shows it.

columns.py    the numbers of metrics.jsonl, a column a name
reading.py    the files of a run, wherever they lie
joining.py    which rows belong to which attempt, and which of them count
goodput.py    where the allocated GPU time went
intervals.py  times that overlap
measured.py   seconds of a step, a save and a start, and failures, from the ends of a run's files
cadence.py    the interval of checkpoints that wastes least
utilization.py  MFU
page_curves.py  the curves of a page
curves.py     fewer points that look the same, and a smoothed line
differences.py  what differs between plans
page_data.py  all that a page shows, as JSON data
page.py       the page: that data with assets/ and vendor/ in one file
"""
