// Judges the BatchNorm below by files of vectors, with no Python: node consume.mjs vectors/BN-TRAIN-NORM-float32.json
// VECTORS.md describes the format. This reader leaves out vectors with gradients and those in half precision.
import { readFileSync } from "node:fs";

class BatchNorm {
  constructor({ num_features: channels, eps, momentum, affine, track_running_stats: tracked }, round) {
    Object.assign(this, { channels, eps, momentum, tracked, round });
    const full = (value, there) => (there ? Array(channels).fill(value) : null);
    this.state = { weight: full(1, affine === true || affine === "weight"), bias: full(0, affine === true || affine === "bias"), running_mean: full(0, tracked),
                   running_var: full(1, tracked), num_batches_tracked: tracked ? [0] : null };
  }
  forward({ shape, data }, training) {
    const s = this.state, inner = shape.slice(2).reduce((a, b) => a * b, 1), n = shape[0] * inner, y = Array(data.length);
    if (training && this.tracked) s.num_batches_tracked[0] += 1;
    for (let c = 0; c < this.channels; c++) {
      const own = Array.from({ length: n }, (_, k) => (Math.floor(k / inner) * this.channels + c) * inner + (k % inner));
      let mean = own.reduce((sum, i) => sum + data[i], 0) / n;
      let variance = own.reduce((sum, i) => sum + (data[i] - mean) ** 2, 0) / n;
      if (training && this.tracked) {
        const a = this.momentum ?? 1 / s.num_batches_tracked[0];
        s.running_mean[c] = this.round((1 - a) * s.running_mean[c] + a * mean);
        s.running_var[c] = this.round((1 - a) * s.running_var[c] + a * variance * n / (n - 1));
      } else if (this.tracked) [mean, variance] = [s.running_mean[c], s.running_var[c]];
      const scale = (s.weight?.[c] ?? 1) / Math.sqrt(variance + this.eps);
      for (const i of own) y[i] = this.round((data[i] - mean) * scale + (s.bias?.[c] ?? 0));
    }
    return y;
  }
}

function* faults(vector, round) {
  let layer = new BatchNorm(vector.config, round);
  for (const [number, step] of vector.steps.entries()) {
    if (step.op === "build") layer = new BatchNorm(vector.config, round);
    for (const [name, value] of Object.entries(step.state ?? {})) layer.state[name] = value.data.map(Number);
    const x = step.x && { ...step.x, data: step.x.data.map(Number) };
    const shown = { ...layer.state, y: step.op === "forward" && layer.forward(x, step.mode === "training") };
    for (const [name, due] of Object.entries(step.expect)) {
      const got = shown[name.split(":")[0]], where = `${vector.name}, step ${number + 1}, ${name}`;
      if (!due || !got || got.length !== due.low.length) { if (due || got) yield `${where}: ${got}`; continue; }
      const right = (v, k) => due.low[k] === "NaN" ? !Number.isFinite(v) : +due.low[k] <= v && v <= +due.high[k];
      const k = got.findIndex((v, k) => !right(v, k));
      if (k >= 0) yield `${where}[${k}]: ${got[k]} is not in [${due.low[k]}, ${due.high[k]}]`;
    }
  }
}

const counts = { passed: 0, failed: 0, "left out": 0 };
for (const file of process.argv.slice(2)) {
  const { dtype, requirement, vectors } = JSON.parse(readFileSync(file, "utf8"));
  for (const vector of vectors) {
    const round = { float64: (v) => v, float32: Math.fround }[dtype];
    const found = !round || vector.flags.includes("Gradient") ? null : [...faults(vector, round)];
    counts[!found ? "left out" : found.length ? "failed" : "passed"] += 1;
    if (found?.length) console.log(`${requirement}: ${found[0]}`);
  }
}
console.log(Object.entries(counts).map(([word, count]) => `${count} ${word}`).join(", "));
process.exit(counts.failed || !counts.passed ? 1 : 0);
