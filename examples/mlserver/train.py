"""Trains the releases from scikit-learn's bundled digits, and writes the test set that clients replay.

Usage: train.py FOLDER. Everything is seeded: the same versions of the libraries give the same models.
"""

import json
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

#: Pixels run from 0 to 16.
BRIGHTEST = 16.0


def train(folder: Path) -> None:
    """Writes `v1`, `v2` and `v2-half` as joblib files, and `test.json`."""
    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        digits.data / BRIGHTEST, digits.target, test_size=0.4, random_state=7, stratify=digits.target
    )
    models = {
        "v1": LogisticRegression(max_iter=1000).fit(images, labels),
        "v2": SVC().fit(images, labels),
        # Its feature pipeline dropped half of the picture: it loads, it is ready, and it answers nobody.
        "v2-half": LogisticRegression(max_iter=1000).fit(images[:, :32], labels),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        joblib.dump(model, folder / f"{name}.joblib")
    test = {"images": test_images.round(4).tolist(), "labels": test_labels.tolist()}
    (folder / "test.json").write_text(json.dumps(test))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
