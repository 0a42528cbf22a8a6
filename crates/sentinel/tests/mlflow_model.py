"""Makes a small three-class model with the named columns of the features and saves it as MLflow does.
Usage: mlflow_model.py FOLDER NAMES.json

Invariant: the same numbers on every run; `expected.json` beside the model holds what scikit-learn itself says to a few rows.
Must not touch: the network (telemetry is switched off), anything outside FOLDER.
"""

import json
import os
import sys

folder, names_file = sys.argv[1], sys.argv[2]
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_TRACKING_URI"] = "file://" + os.path.join(folder, "tracking")

import mlflow.sklearn
import numpy
import pandas
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

with open(names_file) as file:
    names = json.load(file)
random = numpy.random.default_rng(7)
inputs = pandas.DataFrame(random.normal(size=(600, len(names))), columns=names)
# Each class leans on columns of its own, so that a column in the wrong place changes the answer.
scores = inputs.to_numpy() @ random.normal(size=(len(names), 3))
model = LogisticRegression(max_iter=2000).fit(inputs, scores.argmax(axis=1))

mlflow.sklearn.save_model(
    model,
    os.path.join(folder, "model"),
    signature=infer_signature(inputs, model.predict_proba(inputs)),
    pyfunc_predict_fn="predict_proba",
)
rows = inputs.head(5)
with open(os.path.join(folder, "expected.json"), "w") as file:
    json.dump({"rows": rows.to_numpy().tolist(), "probabilities": model.predict_proba(rows).tolist()}, file)
