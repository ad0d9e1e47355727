"""Scores the sounds that the laboratory left: PESQ (ITU-T P.862.1 and P.862.2) and PLCMOS.

score.py FOLDER: reads FOLDER/cells.json, writes FOLDER/scores.json: for each sound heard
[PESQ, PLCMOS]. PESQ is narrow-band for formats of 8 kHz and wide-band for others. PLCMOS draws
raters at random; here the same five judge every sound.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from pesq import PesqError, pesq
from speechmos.plcmos import PLCMOS

PLC_RATE = 16_000


def read(path):
    data = Path(path).read_bytes()
    rate = int.from_bytes(data[24:28], "little")
    return rate, np.frombuffer(data[44:], "<i2").astype(np.float32) / 32_768


def resampled(sound, rate):
    """At 16 kHz, through the spectrum."""
    if rate == PLC_RATE:
        return sound
    length = len(sound) * PLC_RATE // rate
    spectrum = np.fft.rfft(sound)
    wanted = np.zeros(length // 2 + 1, complex)
    common = min(len(spectrum), len(wanted))
    wanted[:common] = spectrum[:common]
    return np.clip(np.fft.irfft(wanted, length) * length / len(sound), -1, 1).astype(np.float32)


model = None


def score(pair):
    global model
    if model is None:
        model = PLCMOS(embed_rounds=5)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model.session = onnxruntime.InferenceSession(model.model_path, options)
    said, heard, wide = pair
    rate, reference = read(said)
    _, degraded = read(heard)
    try:
        quality = pesq(rate, reference, degraded, "wb" if wide else "nb")
    except (PesqError, ValueError):
        quality = None
    np.random.seed(1)
    return heard, [quality, model(resampled(degraded, rate))["plcmos"]]


def judged(pairs):
    """Of a long call about a dozen clips, evenly spread."""
    return pairs[:: max(1, len(pairs) // 12)]


def main():
    folder = Path(sys.argv[1])
    cells = json.loads((folder / "cells.json").read_text())["cells"]
    pairs = [(p["said"], p["heard"], c["wide"]) for c in cells for p in judged(c["pairs"])]
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else 2) as pool:
        scores = dict(pool.map(score, pairs, chunksize=4))
    (folder / "scores.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
