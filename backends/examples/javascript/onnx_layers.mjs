// ONNX Runtime's BatchNormalization of opset 15, in Node.js and in a browser, in evaluation and in training mode.
// The operator keeps nothing: the layer here keeps what goes in, and takes up what comes out. Its momentum weighs the
// old value, so 1 - momentum is passed. There is no counter and no gradient.
import { Failed, HALF, Unsupported } from "./conversation.mjs";
import { INPUTS, model } from "./onnx_model.mjs";

const PAGE = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html";
const POPULATION = `${PAGE}: 'running_var = input_var * momentum + current_var * (1 - momentum)', where current_var 'refers to the population variance'`;
const UNSUPPORTED = {
  backward: "an ONNX model has no gradient",
  momentum_none: "the attribute momentum is a number; there is no cumulative average",
  affine_off: "scale and B are required inputs of the operator",
};
const DEVIATIONS = {
  epsilon_value: "single_precision",
  momentum_value: "single_precision",
  running_variance: "biased",
  single_value: "bias_output",
};
const DOCUMENTED = {
  epsilon_value: `${PAGE}: 'epsilon - FLOAT', single precision, whatever the type of X`,
  momentum_value: `${PAGE}: 'momentum - FLOAT', single precision, whatever the type of X; it weighs the old value`,
  running_variance: POPULATION,
  single_value: `${POPULATION}, which one value has: it is 0`,
};
const ARRAYS = { float64: Float64Array, float32: Float32Array, float16: HALF };
const ONE = { float64: 1, float32: 1, float16: HALF === Uint16Array ? 0x3c00 : 1 };
const STATISTICS = ["running_mean", "running_var"];

// `ort` is the library; `lacking` are the features that it lacks besides, and `lackingOn` those of a device. `options`
// are those of a session on a device, `fixed` the devices that want to know the shape of x; `calls(device)` counts the calls of a GPU's interface, null where it has none.
export function backend({ ort, name, version, devices, lacking, slow = false, lackingOn = {}, options, fixed = [], calls = () => null }) {
  const unsupported = { ...UNSUPPORTED, ...lacking };
  const sessions = new Map(); // by the device and the model: one serves every layer

  function session(node, device) {
    const key = JSON.stringify([node, device]);
    if (!sessions.has(key)) sessions.set(key, ort.InferenceSession.create(model(node), options(device)));
    return sessions.get(key);
  }

  const tensor = ({ dtype, shape, data }) => new ort.Tensor(dtype, data, shape);
  const shown = ({ type, dims, data }) => ({ dtype: type, shape: [...dims], data: data.slice() });

  class Layer {
    constructor(node, channels, device) {
      const full = (value) => new ARRAYS[node.parameterDtype](channels).fill(value);
      const array = (name) => full(name === "weight" || name === "running_var" ? ONE[node.parameterDtype] : 0);
      const one = (name) => [name, { dtype: node.parameterDtype, shape: [channels], data: array(name) }];
      this.kept = Object.fromEntries(Object.keys(INPUTS).map(one));
      Object.assign(this, { node, device, tracked: node.tracked });
    }
    async forward(x, training) {
      const batch = training || !this.tracked;
      const inputs = Object.entries(INPUTS).map(([name, theirs]) => [theirs, tensor(this.kept[name])]);
      const shape = fixed.includes(this.device) ? { shape: x.shape } : {};
      const made = await session({ ...this.node, training: batch, ...shape }, this.device);
      const before = calls(this.device);
      const found = await made.run({ x: tensor(x), ...Object.fromEntries(inputs) });
      if (before !== null && calls(this.device) === before && x.data.length)
        throw new Failed(`nothing was computed by ${this.device}`);
      if (training && this.tracked) for (const name of STATISTICS) this.kept[name] = shown(found[name]);
      return shown(found.y);
    }
    state() {
      return this.tracked ? this.kept : { ...this.kept, running_mean: null, running_var: null };
    }
    load(state) {
      const there = this.state();
      for (const [name, { dtype, shape }] of Object.entries(state)) {
        const own = there[name] && `${there[name].dtype} [${there[name].shape}]`; // the operator takes no other dtype
        if (own !== `${dtype} [${shape}]`) throw new Error(`there is no ${name} of ${dtype} [${shape}] here`);
      }
      Object.assign(this.kept, state);
    }
  }

  async function build(config, device) {
    const { num_features: channels, eps, momentum, affine, ndim, dtype, param_dtype: parameterDtype } = config;
    const missing = { ...unsupported, ...lackingOn[device] };
    const off = !config.track_running_stats && "track_running_stats_off";
    for (const feature of [momentum === null && "momentum_none", affine !== true && "affine_off", off, `rank_${ndim}`, dtype])
      if (feature in missing) throw new Unsupported(missing[feature]);
    const attributes = { epsilon: eps, momentum: 1 - momentum };
    const node = { ndim, dtype, parameterDtype, attributes, tracked: config.track_running_stats };
    await session({ ...node, training: false }, device); // so that what it lacks is refused here
    return new Layer(node, channels, device);
  }

  function buildDefault(channels, device) {
    const node = { ndim: 4, dtype: "float32", parameterDtype: "float32", attributes: {}, tracked: true };
    return new Layer(node, channels, device);
  }

  const declared = { deviations: DEVIATIONS, documented: DOCUMENTED, unsupported, unsupported_on: lackingOn };
  return { hello: { name, version, devices, slow_to_start: slow, ...declared }, build, buildDefault };
}
