// In the browser: the implementation that the address names, asked over the server that sent this page.
import { answering } from "./conversation.mjs";
import { calls } from "./gpu_calls.mjs"; // before any library takes hold of the interfaces
import { backend as onnxruntime } from "./onnx_layers.mjs";
import { backend as tfjs } from "./tfjs_layers.mjs";

const EVALUATION = "in training mode, in which the operator would also normalise by the batch in evaluation";
const LACKING_ON = {
  webgl: {
    training: "ONNX Runtime: 'the size of output does not match model definition', as its WebGL kernel only evaluates",
    track_running_stats_off: `ONNX Runtime: 'the size of output does not match model definition' ${EVALUATION}`,
    rank_2: "ONNX Runtime: 'invalid input shape', as its WebGL kernel wants three axes or more",
    float16: "ONNX Runtime: 'unsupported data type: FLOAT16'",
  },
  webgpu: {
    training: "ONNX Runtime: 'BatchNormalization trainingMode is not supported yet'",
    track_running_stats_off: `ONNX Runtime: 'trainingMode is not supported yet' ${EVALUATION}`,
    float64: "ONNX Runtime has no such kernel on WebGPU",
  },
};

// TensorFlow.js comes as scripts that share a global `tf`.
const script = (source) =>
  new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src: source, onload: resolve });
    element.onerror = () => reject(new Error(`${source} does not load`));
    document.head.append(element);
  });

async function tensorflow() {
  const folder = "node_modules/@tensorflow";
  for (const part of ["core", "layers", "backend-cpu", "backend-wasm", "backend-webgl", "backend-webgpu"])
    await script(`${folder}/tfjs-${part}/dist/tf-${part}.min.js`);
  const { tf } = globalThis;
  tf.wasm.setWasmPaths(`${location.origin}/${folder}/tfjs-backend-wasm/dist/`);
  tf.wasm.setThreadsCount(1);
  // Else small operands of a GPU's operations are computed by the CPU.
  tf.env().set("WEBGL_CPU_FORWARD", false);
  tf.env().set("WEBGPU_CPU_FORWARD", false);
  const offered = ["cpu", "wasm", "webgl", "webgpu"];
  return tfjs({ tf, layers: tf.layers, version: tf.version_layers, name: "tfjs-browser", offered, slow: true, calls });
}

async function onnx() {
  const ort = await import("./node_modules/onnxruntime-web/dist/ort.all.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const alone = { extra: { session: { disable_cpu_ep_fallback: "1" } } };
  const options = (device) => ({ executionProviders: [device], ...(device === "webgpu" ? alone : {}) });
  return onnxruntime({
    ort,
    name: "onnxruntime-web",
    version: ort.env.versions.web,
    devices: ["wasm", "webgl", "webgpu"],
    lacking: { bfloat16: "JavaScript has no array of it" },
    lackingOn: LACKING_ON,
    options,
    fixed: ["webgl"],
    slow: true,
    calls,
  });
}

const answer = answering(await { tfjs: tensorflow, "onnxruntime-web": onnx }[location.search.slice(1)]());
let last = "";
for (;;) last = await answer(await (await fetch("next", { method: "POST", body: last })).text());
