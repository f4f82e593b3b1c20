# The package with JAX for one kind of machine.
#
#   docker build --build-arg=JAX=tpu --tag=REGION-docker.pkg.dev/PROJECT/jaxeff/jaxeff .
#
# JAX is tpu, cuda13 or cpu. Nothing of a user's is in it: mount or fetch files of your own.
FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels .

FROM python:3.12-slim
ARG JAX=tpu
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "jax[${JAX}]" "$(ls /wheels/*.whl)[train,tfds,gcs]" \
    && rm -r /wheels
# As root, to whom the devices of TPUs belong.
WORKDIR /work
CMD ["jaxeff"]
