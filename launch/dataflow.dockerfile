# Image of the Dataflow workers that read slides; launch/prepare_dataflow.sh builds it.
FROM apache/beam_python3.11_sdk:2.77.0
COPY . /histo_simclr
RUN pip install --no-cache-dir -c /histo_simclr/launch/beam_constraints.txt "/histo_simclr[dataflow]"
