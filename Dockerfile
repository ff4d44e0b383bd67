# pgmonkey as a command: docker build -t pgmonkey . && docker run --rm pgmonkey --help
#
# Builds with the legacy builder, BuildKit and podman alike, so there is no syntax line here,
# no heredoc and no mount. Every package is pinned with its hashes in image/*.txt; scripts/lock
# renews them. README.md, "In a container", has the recipes.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# Another package index than the base's: docker build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
WORKDIR /src
COPY image image
# Two environments: the tools that make the wheel stay here, and pip stays out of the other.
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r image/build.txt \
    && python -m venv --without-pip /opt/pgmonkey \
    && /build/bin/pip --python /opt/pgmonkey/bin/python install --no-cache-dir \
        --only-binary :all: --require-hashes -r image/requirements.txt
COPY LICENSE README.md pyproject.toml ./
COPY pgmonkey pgmonkey
RUN /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheel . \
    && /build/bin/pip --python /opt/pgmonkey/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/pgmonkey/bin/python image/sbom.py /opt/pgmonkey/sbom.cdx.json \
    && mkdir -m 0775 /work

FROM python:${PYTHON}-slim
ARG PYTHON
ARG VERSION=5.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pgmonkey" \
    org.opencontainers.image.description="One YAML file for every PostgreSQL connection: test, audit, import and export" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="docker.io/library/python:${PYTHON}-slim"
COPY --from=build /opt/pgmonkey /opt/pgmonkey
COPY --from=build --chown=10001:0 /work /work
# The wheel of psycopg brings an OpenSSL of its own, which would look for its authorities where
# it was built; sslrootcert=system finds those of the image here.
# A client's key is seldom owned by whoever runs in a container, so it is copied where that helps.
ENV PATH=/opt/pgmonkey/bin:$PATH \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_DIR=/etc/ssl/certs \
    PGMONKEY_COPY_KEY=auto \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Group 0, because platforms which give every container a user of its own leave it that group.
USER 10001:0
WORKDIR /work
ENTRYPOINT ["pgmonkey"]
CMD ["--help"]
