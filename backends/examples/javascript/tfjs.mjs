// TensorFlow.js in Node.js: the layer tf.layers.batchNormalization, on the devices `cpu` (plain JavaScript) and `wasm`.
// Its momentum weighs the old value, so 1 - momentum is passed. The channels are the last axis, the layer's default:
// tf.transpose moves axis 1 there and back. Which of TensorFlow.js' backends holds a result is looked at.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import { layers, version_layers } from "@tensorflow/tfjs-layers";
import { Failed, serve, Unsupported } from "./protocol.mjs";

const WHY = "TensorFlow.js has no other floating-point numbers than float32";
const unsupported = {
  momentum_none: "the layer has no cumulative average",
  track_running_stats_off: "the layer always has running statistics",
  rank_5: "TensorFlow.js says that its batchNormalization is not implemented for arrays of rank 5 yet",
  float64: WHY,
  float16: WHY,
  bfloat16: WHY,
};
const NAMES = { running_mean: "moving_mean", running_var: "moving_variance", weight: "gamma", bias: "beta" };

setThreadsCount(1); // so that a sum does not depend on how many cores there are

async function usable(name) {
  return (await tf.setBackend(name).catch(() => false)) && tf.getBackend() === name;
}

const last = (ndim) => [0, ...Array.from({ length: ndim - 2 }, (_, k) => k + 2), 1];
const first = (ndim) => [0, ndim - 1, ...Array.from({ length: ndim - 2 }, (_, k) => k + 1)];

class Layer {
  constructor(made, ndim, channels, device) {
    Object.assign(this, { made, ndim, device });
    made.build([...Array(ndim - 1).fill(null), channels]);
    const own = (name) => made.weights.find((weight) => weight.originalName.endsWith(NAMES[name]));
    this.variables = Object.fromEntries(Object.keys(NAMES).map((name) => [name, own(name)]));
  }
  given({ shape, data }) {
    if (shape.length !== this.ndim) throw new Error(`rank ${shape.length} was given to a layer of rank ${this.ndim}`);
    return tf.transpose(tf.tensor(data, shape, "float32"), last(shape.length));
  }
  shown(tensor, moved = true) {
    const holder = tf.engine().state.tensorInfo.get(tensor.dataId).backend;
    if (holder !== tf.findBackend(this.device)) throw new Failed(`a result does not lie on ${this.device}`);
    const whole = moved ? tf.transpose(tensor, first(tensor.rank)) : tensor;
    return { dtype: whole.dtype, shape: whole.shape, data: whole.dataSync().slice() };
  }
  call(x, training) {
    return this.made.apply(x, { training });
  }
  async forward(x, training) {
    await tf.setBackend(this.device);
    return tf.tidy(() => this.shown(this.call(this.given(x), training)));
  }
  async backward(x, upstream, training) {
    await tf.setBackend(this.device);
    return tf.tidy(() => {
      const there = ["weight", "bias"].map((name) => this.variables[name]);
      const wanted = there.filter(Boolean).map((variable) => variable.read());
      const given = tf.variable(this.given(x));
      const total = () => tf.sum(tf.mul(this.call(given, training), this.given(upstream)));
      const { grads } = tf.variableGrads(total, [given, ...wanted]);
      const of = (variable) => variable && this.shown(grads[variable.read().name], false);
      const found = [this.shown(grads[given.name]), of(there[0]), of(there[1])];
      given.dispose();
      return found;
    });
  }
  state() {
    const one = ([name, variable]) => [name, variable && this.shown(variable.read(), false)];
    return Object.fromEntries(Object.entries(this.variables).map(one));
  }
  async load(state) {
    await tf.setBackend(this.device);
    for (const [name, { shape, data }] of Object.entries(state)) {
      if (!this.variables[name]) throw new Error(`the layer has no ${name}`);
      tf.tidy(() => this.variables[name].write(tf.tensor(data, shape)));
    }
  }
  drop() {
    for (const weight of this.made.weights) weight.dispose();
  }
}

async function build(config, device) {
  const { momentum, track_running_stats: tracked, ndim, dtype, param_dtype } = config;
  const asked = [momentum === null && "momentum_none", !tracked && "track_running_stats_off", `rank_${ndim}`, dtype, param_dtype];
  for (const feature of asked) if (feature in unsupported) throw new Unsupported(unsupported[feature]);
  await tf.setBackend(device);
  const options = { momentum: 1 - config.momentum, epsilon: config.eps };
  options.scale = config.affine === true || config.affine === "weight";
  options.center = config.affine === true || config.affine === "bias";
  return new Layer(layers.batchNormalization(options), config.ndim, config.num_features, device);
}

async function buildDefault(channels, device) {
  await tf.setBackend(device);
  return new Layer(layers.batchNormalization(), 4, channels, device);
}

const devices = [];
for (const name of ["cpu", "wasm"]) if (await usable(name)) devices.push(name);

await serve({
  hello: {
    name: "tfjs",
    version: version_layers,
    devices,
    abilities: ["weight_alone", "bias_alone"],
    deviations: {},
    documented: {},
    unsupported,
  },
  build,
  buildDefault,
});
