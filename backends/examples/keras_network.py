"""A small Keras network with a residual join and a shared convolution, for `bnconform deploy`.

bnconform deploy --keras keras_network.py:make --tool all
"""

from __future__ import annotations

from typing import Any


def make(width: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """(the network, x): keras.Model and (4, 16, 16, 3), both of numbers that are drawn; trained statistics too."""
    import keras
    import numpy as np
    from keras import layers

    random = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    stem = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(width, 3, padding="same", use_bias=False)(stem)
    y = layers.ReLU()(layers.Add()([layers.BatchNormalization()(y), stem]))
    shared = layers.Conv2D(width, 3, padding="same")
    one = layers.BatchNormalization()(shared(y))
    other = layers.BatchNormalization()(shared(layers.MaxPooling2D(3, 1, "same")(y)))
    y = layers.Add()([layers.ReLU()(one), layers.ReLU()(other)])
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2)(y))
    y = layers.Dense(10)(layers.BatchNormalization()(layers.Dense(width)(layers.Flatten()(y))))
    network = keras.Model(x, y)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights([
                random.uniform(0.5, 1.5, size), random.uniform(-0.5, 0.5, size), random.uniform(-1, 1, size),
                random.uniform(0.5, 4, size),
            ])  # fmt: skip
    return network, random.standard_normal((4, 16, 16, 3)).astype("float32")
