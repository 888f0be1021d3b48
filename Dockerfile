# streammat on the CPU: docker build -t streammat . && docker run --rm -v "$PWD:/data" streammat video in.mp4 out.mp4 --bg blur
# UNTESTED: never built or run, for lack of a Docker daemon. The wheel that it builds was tested without Docker.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY streammat streammat
COPY engines engines
COPY train train
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# PortAudio for sound; OpenCV's wheel needs libGL and GLib for its window.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libportaudio2 && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[openvino,web]" && rm -r /wheels && useradd --create-home streammat
USER streammat
WORKDIR /data
ENTRYPOINT ["streammat"]
