"""The outside judge of features and embedded model: pandas and scikit-learn say what the Rust code must say.

    features_reference.py features BARS OUT    23 numbers for each window of BARS
    features_reference.py predict BARS OUT     23 features and 3 probabilities for each window, by a scikit-learn pipeline with the committed numbers

BARS holds six little-endian 8-byte numbers a bar: the opening time (integer), then open, high, low, close, volume (floats). OUT gets floats alike.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "../training"))

import features  # noqa: E402

ROW = [("open_time", "<i8")] + [(name, "<f8") for name in ("open", "high", "low", "close", "volume")]


def committed():
    """scikit-learn's own scaling and softmax with the numbers of the model file."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    model = json.loads((HERE / "../model/softmax-eurusd-1h.json").read_text())
    scaler, softmax = StandardScaler(), LogisticRegression()
    scaler.mean_, scaler.scale_ = np.array(model["mean"]), np.array(model["scale"])
    softmax.coef_, softmax.intercept_ = np.array(model["coefficients"]), np.array(model["intercepts"])
    softmax.classes_ = np.arange(3)
    return Pipeline([("scaling", scaler), ("softmax", softmax)])


def main() -> None:
    wanted, bars, out = sys.argv[1:]
    bars = pd.DataFrame(np.fromfile(bars, dtype=ROW))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        answer = features.features(bars).to_numpy()
    if wanted == "predict":
        answer = np.hstack([answer, committed().predict_proba(answer)])
    answer.astype("<f8").tofile(out)


main()
