FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY alembic alembic
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent notify && install --directory --owner=notify /data
COPY --from=build /venv /venv
USER 10001
# SQLite is at ./notify.db unless DATABASE_URL says otherwise.
WORKDIR /data
# In a container the service has to listen on all addresses; settings without a default come from outside.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 APP_ENV=prod HOST=0.0.0.0 PORT=2025
EXPOSE 2025
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=3)"]
ENTRYPOINT ["stomp-notify"]
CMD ["serve"]
