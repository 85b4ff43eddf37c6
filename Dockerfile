# Builds with docker, buildah and podman. The base is an argument, so that a private or hardened one can be used.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/app \
 && /opt/app/bin/pip install -q --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install -q --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY processor ./processor
COPY schemas ./schemas
# the commit, as `make image` gives it: part of the version from here on, so that two builds of one release are told apart
ARG COMMIT=
RUN if [ -n "$COMMIT" ]; then sed -i "s/^__version__ = \"[^\"]*/&+g$COMMIT/" processor/__init__.py; fi
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w /dist . \
 && /opt/app/bin/pip install -q --no-deps /dist/*.whl \
 && /opt/app/bin/pip uninstall -qy pip

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd -r -g 10001 app && useradd -r -u 10001 -g app -d /nonexistent -s /usr/sbin/nologin app
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG COMMIT=
LABEL org.opencontainers.image.revision=$COMMIT
USER 10001:10001
ENTRYPOINT ["processor"]

# the Didit simulator for other projects' tests (docs/testing-your-integration.md): --target simulator; what follows the image are its options
FROM runtime AS simulator
EXPOSE 8080
ENTRYPOINT ["processor", "simulate", "--host=0.0.0.0"]

FROM runtime
USER 10001:10001
CMD ["run"]
