// A model of one BatchNormalization, written as ONNX's protocol buffers; the numbers are the fields of onnx.proto.
const TYPES = { float32: 1, float16: 10, float64: 11 };
const STATISTICS = ["running_mean", "running_var"];

export const INPUTS = { weight: "scale", bias: "B", running_mean: "input_mean", running_var: "input_var" };

const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
const whole = (field, value) => [...varint(field << 3), ...varint(value)];
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content];
const text = (field, value) => bytes(field, new TextEncoder().encode(value));
const single = (field, value) => [...varint((field << 3) | 5), ...new Uint8Array(Float32Array.of(value).buffer)];

const attributeOf = {
  float: (name, value) => bytes(5, [...text(1, name), ...single(2, value), ...whole(20, 1)]),
  int: (name, value) => bytes(5, [...text(1, name), ...whole(3, value), ...whole(20, 2)]),
};

function typed(field, name, dtype, sizes) {
  const shape = sizes.flatMap((size) => bytes(1, typeof size === "number" ? whole(1, size) : text(2, size)));
  return bytes(field, [...text(1, name), ...bytes(2, bytes(1, [...whole(1, TYPES[dtype]), ...bytes(2, shape)]))]);
}

// `attributes` are epsilon and momentum, or {} for their defaults; `tracked`: whether the moved statistics are taken up.
// All sizes are symbolic where `shape`, that of x, is not given, and nothing is constant.
export function model({ ndim, dtype, parameterDtype, attributes, training, tracked, shape = null, opset = 15 }) {
  const sizes = shape ?? ["N", "C", "D1", "D2", "D3"].slice(0, ndim);
  const outputs = ["y", ...(training ? STATISTICS : [])];
  const node = [
    ...["x", ...Object.values(INPUTS)].flatMap((name) => text(1, name)),
    ...outputs.flatMap((name) => text(2, name)),
    ...text(4, "BatchNormalization"),
    ...Object.entries(attributes).flatMap(([name, value]) => attributeOf.float(name, value)),
    ...attributeOf.int("training_mode", Number(training)),
  ];
  const graph = [
    ...bytes(1, node),
    ...text(2, "normalization"),
    ...typed(11, "x", dtype, sizes),
    ...Object.values(INPUTS).flatMap((name) => typed(11, name, parameterDtype, [sizes[1]])),
    ...typed(12, "y", dtype, sizes),
    ...(training && tracked ? STATISTICS : []).flatMap((name) => typed(12, name, parameterDtype, [sizes[1]])),
  ];
  return Uint8Array.from([...whole(1, 8), ...bytes(7, graph), ...bytes(8, whole(2, opset))]);
}
