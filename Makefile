.PHONY: check test
check: test
	scripts/check
test:
	python -m pytest
