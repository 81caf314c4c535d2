FROM python:3.13-slim

COPY pyproject.toml README.md LICENSE requirements.lock /src/
COPY lfexp_mcp /src/lfexp_mcp
RUN pip install --no-cache-dir /src -c /src/requirements.lock \
    && useradd --create-home --uid 1000 lfexp \
    && install -d -o lfexp -m 700 /data

USER lfexp
ENV LFEXP_HOME=/data LFEXP_LOG_FORMAT=json
VOLUME /data
EXPOSE 8765
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=2)"]
CMD ["lfexp-mcp", "serve", "--http", "--host", "0.0.0.0"]
