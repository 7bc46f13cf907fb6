# syntax=docker/dockerfile:1
# The runner's image with the folders that examples/quickstart.yaml measures: real pipelines with small random weights,
# and one that does not load. Build runner/Dockerfile first and name its image as BASE.
ARG BASE=vidbench-runner
FROM ${BASE}
USER 0:0
RUN export HOME=/tmp \
    && python -m vidbench_runner.backends.tiny save --preset wan --out /models/tiny-wan \
    && python -m vidbench_runner.backends.tiny save --preset ltx --out /models/tiny-ltx \
    && python -m vidbench_runner.backends.tiny save --preset wan-mid --out /models/mid-wan \
    && python -m vidbench_runner.backends.tiny save --preset broken --out /models/broken \
    && chmod -R a+rX /models
USER 65532:65532
