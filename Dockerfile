# One image for all of Kizashi: the four services, the migrations, the topics, and the kizashi command.
#
#     docker build --tag kizashi:local .
#
# What it installs is pinned and hashed in requirements-production.lock (`make lock`). Nothing is compiled: there is a
# wheel of everything, so there is no compiler in any stage.

# Python is the version that the tests run on. The digest is what many public Dockerfiles record for this very tag; it
# could not be pulled where this was written. To renew it: docker buildx imagetools inspect python:3.11.16-slim-trixie
FROM python:3.11.16-slim-trixie@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534 AS python


FROM python AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/kizashi
WORKDIR /app
COPY requirements-production.lock ./
RUN /opt/kizashi/bin/pip install --require-hashes --only-binary :all: --requirement requirements-production.lock

COPY pyproject.toml README.md LICENSE ./
COPY cli ./cli
COPY config ./config
COPY libs ./libs
COPY services ./services
# Editable, since migrations are found beside the code; then what is only needed to install goes. Bytecode is written
# here because nothing can write where this runs, and never looked at again because nothing can change there.
RUN /opt/kizashi/bin/pip install --no-deps --no-index --no-build-isolation --editable . \
    && /opt/kizashi/bin/pip uninstall --yes setuptools pip \
    && rm -rf build \
    && /opt/kizashi/bin/python -m compileall -q --invalidation-mode unchecked-hash cli libs services \
    && chmod -R a+rX,go-w /app


FROM python

LABEL org.opencontainers.image.title="Kizashi" \
      org.opencontainers.image.description="Notices the first sign that a customer is drifting, and says why" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/kizashi /opt/kizashi
COPY --from=build /app /app
ENV PATH=/opt/kizashi/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KIZASHI_HOST=0.0.0.0
WORKDIR /app
# By number, so that Kubernetes can see that it is not root. Nothing in the image belongs to it.
USER 10001:10001
EXPOSE 8080 8081 8082 8083
CMD ["kizashi", "--help"]
