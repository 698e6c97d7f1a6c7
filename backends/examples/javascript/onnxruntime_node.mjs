// ONNX Runtime in Node.js, on its CPU provider.
import * as ort from "onnxruntime-node";
import { backend } from "./onnx_layers.mjs";
import { serve } from "./protocol.mjs";

const OPTIONS = { executionProviders: ["cpu"], intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };

await serve(
  backend({
    ort,
    name: "onnxruntime-node",
    version: ort.env.versions.node,
    devices: ["cpu"],
    lacking: { bfloat16: "ONNX Runtime has no such kernel on the CPU" },
    options: () => OPTIONS,
  }),
);
