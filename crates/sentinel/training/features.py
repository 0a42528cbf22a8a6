"""The 23 features of the model's wire contract, version 1, in pandas: what the model is trained on, and the outside judge of the Rust code.

Every window of 200 bars is one column of a frame, so each feature is the plain pandas expression of `docs/model-contract.md`, and a
recursion (the exponential means) starts at the oldest bar of its own window. Nothing here comes from the Rust code.
"""

import numpy as np
import pandas as pd

SCHEMA_VERSION = 1
BAR_COUNT = 200
NAMES = [
    "return_1", "return_5", "return_10",
    "sma_10", "sma_20", "ema_10", "ema_20",
    "volatility_10", "volatility_20", "rsi_14",
    "macd", "macd_signal", "macd_histogram",
    "high_low_ratio", "close_high_ratio", "close_low_ratio",
    "volume_sma_20", "volume_ratio",
    "hour", "weekday", "momentum_5", "acceleration_5", "atr_14",
]  # fmt: skip


def windows(series: pd.Series) -> pd.DataFrame:
    """All windows of 200 values: 200 rows, oldest first, and one column for each window."""
    return pd.DataFrame(np.lib.stride_tricks.sliding_window_view(series.to_numpy(), BAR_COUNT).T)


def ema(frame: pd.DataFrame, span: int) -> pd.DataFrame:
    return frame.ewm(span=span, adjust=False).mean()


def features(bars: pd.DataFrame) -> pd.DataFrame:
    """One row for each window that ends in a bar of `bars`, from the 200th on.

    `bars` has the columns open_time (Unix seconds, UTC), high, low, close, volume. A value that cannot be computed is left as
    pandas gives it (nan, inf): refusing it is the reader's part.
    """
    high, low, close, volume = (windows(bars[name]) for name in ("high", "low", "close", "volume"))
    returns = close / close.shift(1) - 1
    change = close.diff().tail(14)
    gain, loss = change.clip(lower=0).mean(), (-change).clip(lower=0).mean()
    rsi = (100 - 100 / (1 + gain / loss)).mask(loss == 0, 100.0).mask((gain == 0) & (loss == 0), 50.0)
    macd = ema(close, 12) - ema(close, 26)
    signal = ema(macd, 9)
    before = close.shift(1)
    true_range = np.maximum(high - low, np.maximum((high - before).abs(), (low - before).abs()))
    volume_mean = volume.tail(20).mean()
    momentum = close.diff(5)
    opened = pd.to_datetime(bars["open_time"].iloc[BAR_COUNT - 1 :], unit="s", utc=True).reset_index(drop=True)
    columns = {
        "return_1": (close / close.shift(1) - 1).iloc[-1],
        "return_5": (close / close.shift(5) - 1).iloc[-1],
        "return_10": (close / close.shift(10) - 1).iloc[-1],
        "sma_10": close.tail(10).mean(),
        "sma_20": close.tail(20).mean(),
        "ema_10": ema(close, 10).iloc[-1],
        "ema_20": ema(close, 20).iloc[-1],
        "volatility_10": returns.tail(10).std(ddof=1),
        "volatility_20": returns.tail(20).std(ddof=1),
        "rsi_14": rsi,
        "macd": macd.iloc[-1],
        "macd_signal": signal.iloc[-1],
        "macd_histogram": (macd - signal).iloc[-1],
        "high_low_ratio": (high / low).iloc[-1],
        "close_high_ratio": (close / high).iloc[-1],
        "close_low_ratio": (close / low).iloc[-1],
        "volume_sma_20": volume_mean,
        "volume_ratio": (volume.iloc[-1] / volume_mean).mask(volume_mean == 0, 1.0),
        "hour": opened.dt.hour.astype(float),
        "weekday": opened.dt.dayofweek.astype(float),
        "momentum_5": momentum.iloc[-1],
        "acceleration_5": momentum.diff(5).iloc[-1],
        "atr_14": true_range.tail(14).mean(),
    }
    return pd.DataFrame(columns)[NAMES]
