# make lab    JupyterLab on the quickstart notebook; ARGS=--no-browser and the like go to Jupyter
# make test   everything that CI checks, after setting up what it needs
# make screenshot   README's picture anew, by the browser test
# make clean  forget the environments

SOURCES := pyproject.toml hatch_build.py $(wildcard tpwidgets/live/*.*)

.PHONY: lab test screenshot clean
.DELETE_ON_ERROR:

lab: .venv/lab.stamp
	.venv/bin/tpwidgets lab notebooks/quickstart.ipynb $(ARGS)

test: .venv/test.stamp
	scripts/setup-browser
	scripts/test

.venv/%.stamp: $(SOURCES)
	scripts/venv $*

screenshot: .venv/test.stamp
	scripts/setup-browser
	TPWIDGETS_README_PICTURE=docs/explorer.png .venv/bin/pytest tests/test_explorer_lab.py -k first_look

clean:
	rm -rf .venv
