// ONNX Runtime in Node.js, on its CPU provider: BatchNormalization of opset 15, in evaluation and in training mode.
// The operator keeps nothing: the layer here keeps what goes in, and takes up what comes out. Its momentum weighs the
// old value, so 1 - momentum is passed. There is no counter and no gradient.
import * as ort from "onnxruntime-node";
import { INPUTS, model } from "./onnx_model.mjs";
import { serve, Unsupported } from "./protocol.mjs";

const PAGE = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html";
const POPULATION = `${PAGE}: 'running_var = input_var * momentum + current_var * (1 - momentum)', where current_var 'refers to the population variance'`;
const BOTH = "scale and B are required inputs of the operator";
const unsupported = {
  backward: "an ONNX model has no gradient",
  momentum_none: "the attribute momentum is a number; there is no cumulative average",
  affine_off: BOTH,
  bfloat16: "ONNX Runtime has no such kernel on the CPU",
};
const OPTIONS = { executionProviders: ["cpu"], intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };
const ARRAYS = { float64: Float64Array, float32: Float32Array, float16: Uint16Array };
const ONE = { float64: 1, float32: 1, float16: 0x3c00 };

const sessions = new Map(); // by the model: one serves every layer
async function session(node) {
  const key = JSON.stringify(node);
  if (!sessions.has(key)) sessions.set(key, await ort.InferenceSession.create(model(node), OPTIONS));
  return sessions.get(key);
}

const tensor = ({ dtype, shape, data }) => new ort.Tensor(dtype, data, shape);
const shown = ({ type, dims, data }) => ({ dtype: type, shape: [...dims], data: data.slice() });

class Layer {
  constructor(node, channels) {
    const full = (value) => new ARRAYS[node.parameterDtype](channels).fill(value);
    const array = (name) => full(name === "weight" || name === "running_var" ? ONE[node.parameterDtype] : 0);
    const one = (name) => [name, { dtype: node.parameterDtype, shape: [channels], data: array(name) }];
    this.kept = Object.fromEntries(Object.keys(INPUTS).map(one));
    Object.assign(this, { node, tracked: node.tracked });
  }
  async forward(x, training) {
    const batch = training || !this.tracked;
    const inputs = Object.entries(INPUTS).map(([name, theirs]) => [theirs, tensor(this.kept[name])]);
    const made = await session({ ...this.node, training: batch });
    const found = await made.run({ x: tensor(x), ...Object.fromEntries(inputs) });
    if (training && this.tracked)
      for (const name of ["running_mean", "running_var"]) this.kept[name] = shown(found[name]);
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

function build(config) {
  const { num_features: channels, eps, momentum, affine, ndim, dtype, param_dtype: parameterDtype } = config;
  const lacking = momentum === null ? "momentum_none" : affine !== true ? "affine_off" : dtype;
  if (lacking in unsupported) throw new Unsupported(unsupported[lacking]);
  const attributes = { epsilon: eps, momentum: 1 - momentum };
  const tracked = config.track_running_stats;
  const layer = new Layer({ ndim, dtype, parameterDtype, attributes, tracked }, channels);
  return session({ ...layer.node, training: false }).then(() => layer); // so that what it lacks is refused here
}

await serve({
  hello: {
    name: "onnxruntime-node",
    version: ort.env.versions.node,
    devices: ["cpu"],
    deviations: {
      epsilon_value: "single_precision",
      momentum_value: "single_precision",
      running_variance: "biased",
      single_value: "bias_output",
    },
    documented: {
      epsilon_value: `${PAGE}: 'epsilon - FLOAT', single precision, whatever the type of X`,
      momentum_value: `${PAGE}: 'momentum - FLOAT', single precision, whatever the type of X; it weighs the old value`,
      running_variance: POPULATION,
      single_value: `${POPULATION}, which one value has: it is 0`,
    },
    unsupported,
  },
  build,
  buildDefault: (channels) =>
    new Layer({ ndim: 4, dtype: "float32", parameterDtype: "float32", attributes: {}, tracked: true }, channels),
});
