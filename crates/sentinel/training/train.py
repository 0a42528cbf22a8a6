#!/usr/bin/env python3
"""Trains the embedded model from the shipped candles and writes `crates/sentinel/model/softmax-eurusd-1h.json`.

`train.py` writes the model and a sample of its inputs and outputs; `train.py --check` writes nothing, trains again and says whether the
committed files are what comes out. `README.md` beside this file says what the model is, and what it is not.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import features

HERE = Path(__file__).resolve().parent
DATA = HERE / "../../../data/eurusd-1h-2017.csv"
MODEL = HERE / "../model/softmax-eurusd-1h.json"
SAMPLE = HERE / "../model/softmax-eurusd-1h.sample.json"

NAME, VERSION = "softmax-eurusd-1h", "1"
CLASSES = ["sell", "hold", "buy"]
# Chosen before anything was measured, and not tuned since: what follows the measured figures would be fitted to them.
HORIZON_BARS = 5
THRESHOLD = 0.0005
REGULARISATION_C = 0.1
SPLITS = 5
SEED = 20170101
# Upper bounds, inclusive, of the buckets in which winning probabilities are counted.
BOUNDS = [0.34, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
# How far another machine's arithmetic may lead the same optimiser.
CHECK_TOLERANCE = 1e-5


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_bars() -> pd.DataFrame:
    bars = pd.read_csv(DATA, comment="#")
    opened = pd.to_datetime(bars["open_time"], utc=True)
    bars["open_time"] = (opened - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
    return bars


def labelled(bars: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Features of all windows whose label is known, those labels, and the features of all windows.

    The label of a window is what the close does over the five bars after it: 0 sell, 1 hold, 2 buy.
    """
    every = features.features(bars)
    close = bars["close"].iloc[features.BAR_COUNT - 1 :].reset_index(drop=True)
    ahead = close.shift(-HORIZON_BARS) / close - 1
    known = ahead.notna()
    label = 1 + (ahead > THRESHOLD).astype(int) - (ahead < -THRESHOLD).astype(int)
    return every[known], label[known].to_numpy(), every


def pipeline():
    softmax = LogisticRegression(C=REGULARISATION_C, tol=1e-10, max_iter=100_000, random_state=SEED)
    return make_pipeline(StandardScaler(), softmax)


def out_of_sample(inputs: pd.DataFrame, labels: np.ndarray) -> dict:
    """Walk forward: each part is predicted by a model that has seen only what was known before the part's first bar.

    The gap leaves out the rows whose labels look into the part. The scaling is fitted inside each training part.
    """
    truth, model, base = [], [], []
    for past, part in TimeSeriesSplit(n_splits=SPLITS, gap=HORIZON_BARS).split(inputs):
        fitted = pipeline().fit(inputs.iloc[past], labels[past])
        frequencies = np.bincount(labels[past], minlength=3) / len(past)
        truth.append(labels[part])
        model.append(fitted.predict_proba(inputs.iloc[part]))
        base.append(np.tile(frequencies, (len(part), 1)))
    truth, model, base = (np.concatenate(parts) for parts in (truth, model, base))
    result = {"method": f"walk forward, {SPLITS} parts, gap of {HORIZON_BARS} bars", "windows": len(truth)}
    for name, given in (("model", model), ("base_rate", base)):
        result[f"{name}_log_loss"] = log_loss(truth, given, labels=[0, 1, 2])
        result[f"{name}_accuracy"] = accuracy_score(truth, given.argmax(axis=1))
    return result


def timestamp(open_time: int) -> str:
    return pd.Timestamp(int(open_time), unit="s").strftime("%Y-%m-%dT%H:%M:%SZ")


def train():
    """The model file, the sample file, the fitted pipeline and the features of all windows."""
    bars = read_bars()
    inputs, labels, every = labelled(bars)
    measured = out_of_sample(inputs, labels)
    fitted = pipeline().fit(inputs, labels)
    scaler, softmax = fitted[0], fitted[1]
    assert list(softmax.classes_) == [0, 1, 2] and list(inputs.columns) == features.NAMES
    winning = fitted.predict_proba(inputs).max(axis=1)
    counts = np.bincount(np.searchsorted(BOUNDS, winning, side="left"), minlength=len(BOUNDS))
    opened = bars["open_time"].iloc[features.BAR_COUNT - 1 :].reset_index(drop=True)
    model = {
        "model": NAME,
        "version": VERSION,
        "feature_schema_version": features.SCHEMA_VERSION,
        "feature_names": features.NAMES,
        "class_names": CLASSES,
        "mean": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "coefficients": softmax.coef_.tolist(),
        "intercepts": softmax.intercept_.tolist(),
        "confidence_reference": {"bounds": BOUNDS, "shares": (counts / counts.sum()).tolist()},
        "provenance": {
            "trained_by": "crates/sentinel/training/train.py",
            "script_sha256": {name: sha256(HERE / name) for name in ("train.py", "features.py")},
            "data": f"data/{DATA.name}",
            "data_sha256": sha256(DATA),
            "training_windows": len(inputs),
            "first_bar": timestamp(opened.iloc[0]),
            "last_bar": timestamp(opened.iloc[len(inputs) - 1]),
            "label": f"close after {HORIZON_BARS} bars: sell below -{THRESHOLD}, buy above {THRESHOLD}, else hold",
            "label_shares": (np.bincount(labels, minlength=3) / len(labels)).tolist(),
            "regularisation_c": REGULARISATION_C,
            "seed": SEED,
            "out_of_sample": measured,
            "numpy": np.__version__,
            "pandas": pd.__version__,
            "scikit_learn": sklearn.__version__,
        },
    }
    rows = every.iloc[:: len(every) // 15]
    sample = {
        "model": NAME,
        "version": VERSION,
        "rows": [
            {"open_time": int(opened[index]), "features": row.tolist(), "probabilities": chances.tolist()}
            for (index, row), chances in zip(rows.iterrows(), fitted.predict_proba(rows))
        ],
    }
    return model, sample, fitted, every


def differences(found, wanted, where: str):
    """Where two documents differ by more than another machine's arithmetic explains."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            yield from differences(found.get(key), wanted.get(key), f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(found, wanted)):
            yield from differences(one, other, f"{where}[{index}]")
    elif isinstance(wanted, float) and isinstance(found, float):
        if abs(found - wanted) > CHECK_TOLERANCE * max(1.0, abs(wanted)):
            yield f"{where}: committed {found}, trained {wanted}"
    elif found != wanted:
        yield f"{where}: committed {found!r}, trained {wanted!r}"


def main() -> int:
    model, sample, _, _ = train()
    if sys.argv[1:] == ["--check"]:
        problems = [
            line
            for path, wanted in ((MODEL, model), (SAMPLE, sample))
            for line in differences(json.loads(path.read_text()), wanted, path.name)
        ]
        print("\n".join(problems) or "the committed model is what the training gives")
        return int(bool(problems))
    if sys.argv[1:]:
        print("usage: train.py [--check]", file=sys.stderr)
        return 2
    for path, document in ((MODEL, model), (SAMPLE, sample)):
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    print(json.dumps({key: model[key] for key in ("confidence_reference", "provenance")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
