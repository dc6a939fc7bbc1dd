# syntax=docker/dockerfile:1
# Two stages: the first builds a wheel that needs no Debian package, the second only installs it.
ARG PYTHON=3.11
FROM python:${PYTHON}-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The versions are Debian 12's; a pin of each would break with its next security update.
# hadolint ignore=DL3008
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends \
      cmake g++ libcurl4-openssl-dev libexpected-dev libfaiss-dev libsimdjson-dev libsqlite3-dev \
      libxxhash-dev ninja-build patchelf unicode-data zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m pip install --no-cache-dir "build==1.3.0" "auditwheel==6.5.0" \
 && python -m pip wheel . --no-deps --no-cache-dir -w dist/raw \
      -Ccmake.build-type=Release -Cinstall.strip=true \
 && python -m auditwheel repair --strip -w dist dist/raw/*.whl

FROM python:${PYTHON}-slim-bookworm AS run
RUN useradd --system --uid 10001 --create-home --home-dir /home/dure dure \
 && install -d -o dure -g dure -m 0700 /data
COPY requirements.txt /tmp/requirements.txt
COPY --from=build /src/dist/*.whl /srv/wheel/
RUN python -m pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt \
 && python -m pip install --no-cache-dir --no-deps /srv/wheel/*.whl \
 && rm -rf /tmp/requirements.txt /srv/wheel
ENV DURE_HOST=0.0.0.0 DURE_PORT=8000 DURE_DATA=/data PYTHONUNBUFFERED=1
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["dure"]
CMD ["serve"]
