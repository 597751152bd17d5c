# syntax=docker/dockerfile:1

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.13-slim AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/slackwater
WORKDIR /src
# Dependencies first: their layer changes with the lock file only.
COPY pyproject.toml uv.lock ./
COPY packages/slackwater-windows packages/slackwater-windows
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-install-workspace
COPY README.md LICENSE ./
COPY operator operator
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable
# Of the 600 services that Google's client describes (111 MB), one is used.
RUN find /opt/slackwater -path '*/discovery_cache/documents/*' ! -name calendar.v3.json -type f -delete

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Slackwater" \
      org.opencontainers.image.description="Starts AI training on Airflow when the calendar says now and the GPUs are free" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/slackwater /opt/slackwater
ENV PATH=/opt/slackwater/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["slackwater"]
CMD ["operator"]
