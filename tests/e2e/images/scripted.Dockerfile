# The runner of tests that are about the operator: see tests/support/scripted_runner.py.
ARG BASE=localhost/vidbench-operator:dev
FROM ${BASE}
COPY tests/support/scripted_runner.py /opt/scripted_runner.py
ENTRYPOINT ["python", "/opt/scripted_runner.py"]
CMD []
