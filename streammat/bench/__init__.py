"""``streammat bench``: what each engine costs on this machine, all in one run.

`run.Bench` asks fresh processes (`child`) for one figure after the other, in rounds, so that a drifting clock affects all engines
alike and none finds another's memory or threads; `report` makes medians and ratios of the answers.
"""
