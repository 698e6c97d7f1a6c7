// TensorFlow.js' layer tf.layers.batchNormalization, in Node.js and in a browser, on any of its devices.
// Its momentum weighs the old value, so 1 - momentum is passed. The channels are the last axis, the layer's default:
// tf.transpose moves axis 1 there and back. Which of TensorFlow.js' backends holds a result is looked at, and so is
// whether a GPU's interface was called at all.
import { Failed, Unsupported } from "./conversation.mjs";

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

const last = (ndim) => [0, ...Array.from({ length: ndim - 2 }, (_, k) => k + 2), 1];
const first = (ndim) => [0, ndim - 1, ...Array.from({ length: ndim - 2 }, (_, k) => k + 1)];

// `tf` and `layers` are the library's; `calls(device)` counts the calls of a GPU's interface, and is null where the
// device has none.
export async function backend({ tf, layers, version, name, offered, slow = false, calls = () => null }) {
  async function usable(device) {
    return (await tf.setBackend(device).catch(() => false)) && tf.getBackend() === device;
  }

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
    moved(tensor) {
      return tf.transpose(tensor, first(tensor.rank));
    }
    async shown(tensor) {
      if (!tensor) return null;
      const holder = tf.engine().state.tensorInfo.get(tensor.dataId).backend;
      if (holder !== tf.findBackend(this.device)) throw new Failed(`a result does not lie on ${this.device}`);
      return { dtype: tensor.dtype, shape: tensor.shape, data: (await tensor.data()).slice() };
    }
    // What a pass gives, in arrays.
    async passed(pass) {
      await tf.setBackend(this.device);
      const before = calls(this.device);
      const found = tf.tidy(pass);
      const arrays = [];
      for (const tensor of found) arrays.push(await this.shown(tensor));
      if (before !== null && calls(this.device) === before && found[0].size)
        throw new Failed(`nothing was computed by ${this.device}`);
      tf.dispose(found);
      return arrays;
    }
    call(x, training) {
      return this.made.apply(x, { training });
    }
    async forward(x, training) {
      return (await this.passed(() => [this.moved(this.call(this.given(x), training))]))[0];
    }
    async backward(x, upstream, training) {
      return this.passed(() => {
        const there = ["weight", "bias"].map((name) => this.variables[name]);
        const wanted = there.filter(Boolean).map((variable) => variable.read());
        const given = tf.variable(this.given(x));
        const total = () => tf.sum(tf.mul(this.call(given, training), this.given(upstream)));
        const { grads } = tf.variableGrads(total, [given, ...wanted]);
        const of = (variable) => (variable ? grads[variable.read().name] : null);
        const found = [this.moved(grads[given.name]), of(there[0]), of(there[1])];
        given.dispose();
        return found;
      });
    }
    async state() {
      const found = {};
      for (const [name, variable] of Object.entries(this.variables)) found[name] = await this.shown(variable?.read());
      return found;
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
    const lacking = [momentum === null && "momentum_none", !tracked && "track_running_stats_off"];
    for (const feature of [...lacking, `rank_${ndim}`, dtype, param_dtype])
      if (feature in unsupported) throw new Unsupported(unsupported[feature]);
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
  for (const device of offered) if (await usable(device)) devices.push(device);
  const abilities = ["weight_alone", "bias_alone"];
  const hello = { name, version, devices, slow_to_start: slow, abilities, deviations: {}, documented: {}, unsupported };
  return { hello, build, buildDefault };
}
