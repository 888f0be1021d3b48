"""``streammat bench``: what each engine costs on this machine, all in one run.

`run.Bench` asks fresh processes (`child`) for one figure after the other, in rounds, so that a drifting clock hits all
engines alike and none of them finds another's memory or threads; `report` makes medians and ratios of what they say.
"""
