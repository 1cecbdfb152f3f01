/** Emits all graphs of the 11B model in a process of its own, and tells how large they and the process became. */
import { DEFAULT_LOWERING, lowerModel, toPluginMode } from '#sdk/graph/tensorrt/index.js';
import { publishedModel } from '../../dist/test/support/published-model.js';

const [folder] = process.argv.slice(2);
const { graphs, manifest } = lowerModel(publishedModel(`${folder}/model.safetensors`), {
  ...DEFAULT_LOWERING,
  capacity: 4096,
  weightsRoot: folder,
  convertedFile: `${folder}/converted.bin`,
  transposedFile: `${folder}/transposed.bin`,
});
const rewritten = Object.values(graphs).map((graph) => toPluginMode(graph));
const sizes = (list) => list.reduce((sum, { byteLength }) => sum + byteLength, 0);
console.log(
  JSON.stringify({
    graphBytes: sizes(Object.values(graphs)),
    rewrittenBytes: sizes(rewritten),
    inputs: manifest.weights.length,
    transposedBytes: manifest.transposedFile.sizeBytes,
    residentBytes: process.resourceUsage().maxRSS * 1024,
  }),
);
