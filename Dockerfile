# One image a device: `docker build --build-arg DEVICE=cpu -t twinserve .`; docs/container.md says what was tried.
# BASE is any image whose `python3` is 3.11 or newer and can make virtual environments.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS builder
ARG DEVICE=cpu
# Anything but nothing adds the library that checks signatures of bundles (TWINSERVE_SIGNING_KEY).
ARG SIGNING=
COPY requirements /build
# pip leaves again once its work is done: nothing in the final environment installs anything.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
       --require-hashes -r /build/serve-${DEVICE}.txt ${SIGNING:+-r /build/signing.txt} \
    && /opt/venv/bin/python -m pip uninstall --yes pip setuptools
COPY app /srv/twinserve/app
# Bytecode is made here, because the running image writes none; it is trusted unchecked, because layers change mtimes.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /srv/twinserve/app

FROM ${BASE}
ARG DEVICE=cpu
LABEL org.opencontainers.image.title="twinserve" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /srv/twinserve/app /srv/twinserve/app
COPY models /srv/twinserve/models
COPY LICENSE /srv/twinserve/LICENSE
# Only TWINSERVE_STATE_DIR is ever written; under a read-only root, mount a tmpfs at /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TWINSERVE_HOST=0.0.0.0 \
    TWINSERVE_PORT=8000 \
    TWINSERVE_DEVICE=${DEVICE} \
    TWINSERVE_DEFAULT_MODEL=glyphs \
    TWINSERVE_STATE_DIR=/tmp/twinserve
WORKDIR /srv/twinserve
USER 10001:10001
EXPOSE 8000
# No proxy: the probe never leaves the container. Anything but 200 raises, which is exit status 1.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['TWINSERVE_PORT'] + '/health/ready', timeout=4)"]
CMD ["python", "-m", "app"]
