import { describe, expect, test } from 'vitest';
// @ts-expect-error plain JavaScript that runs before anything is compiled
import { betweenFolders, includeFaults, includesOf } from '../../check/includes.mjs';
// @ts-expect-error plain JavaScript that runs before anything is compiled
import { circles, importFaults, readLayers } from '../../check/layers.mjs';

const layers = readLayers(`
| folder | is | may import |
|---|---|---|
| \`native/\` | C++ | nothing Node-shaped below \`addon/\` |

Inside \`native/\`, downward only:

\`\`\`
tests/      of everything    -> everything below
addon/      the border       -> tensorrt common
  engine/   one of two
tensorrt/   plans            -> gpu common
gpu/        kernels, driver  -> common
  kernels/  CUDA             -> driver
  driver/   by dlopen
common/     files
\`\`\`
`);
const faults = (from: string, text: string): string[] => importFaults(layers, includesOf(from, text));

describe('includes of native/', () => {
  test.each([
    ['native/addon/engine/a.cpp', '#include "addon/jobs.h"'],
    ['native/addon/jobs.cpp', '#include <vector>\n#include "common/file.h"'],
    ['native/tensorrt/runtime/a.cpp', '#include "gpu/kernels/attention/attention.h"'],
    ['native/gpu/kernels/attention/a.cu', '#include "gpu/driver/device.h"'],
    ['native/tests/gpu/a.cpp', '#include "addon/jobs.h"'],
  ])('%s may hold %s', (from, text) => expect(faults(from, text)).toEqual([]));

  test.each([
    ['native/common/file.cpp', 'addon/failure.h'],
    ['native/gpu/driver/device.cpp', 'gpu/kernels/types.h'],
    ['native/gpu/driver/device.cpp', 'tensorrt/plan/tensor.h'],
    ['native/gpu/kernels/shared/gpu.h', 'tests/gpu/emulation/gpuShim.h'],
    ['native/addon/jobs.h', 'gpu/driver/device.h'],
  ])('%s may not include %s', (from, header) =>
    expect(faults(from, `  # include "${header}"`)).toEqual([`${from} imports native/${header}`]),
  );

  test('keep headers of others to the part that is there for them', () => {
    expect(includeFaults('native/addon/jobs.h', '#include <napi.h>')).toEqual([]);
    expect(includeFaults('native/tensorrt/nvinfer/a.h', '#include <NvInfer.h>')).toEqual([]);
    expect(includeFaults('native/cpu/decoder/a.h', '#include <string>\n#include <napi.h>')).toEqual([
      'native/cpu/decoder/a.h includes napi.h: only addon and tests/addon may know Node-API',
    ]);
    expect(includeFaults('native/tensorrt/plan/a.h', '#include <NvInferRuntime.h>')).toHaveLength(1);
    expect(includeFaults('native/image/a.cpp', '#include <opencv2/core.hpp>')).toHaveLength(1);
  });

  test('are in a circle also when two folders are and no two files', () => {
    const includes = [
      ...includesOf('native/a/one.h', '#include "b/two.h"'),
      ...includesOf('native/b/three.h', '#include "a/four.h"\n#include "b/two.h"'),
    ];
    expect(circles(includes)).toEqual([]);
    expect(circles(betweenFolders(includes))).toEqual([['native/a', 'native/b', 'native/a']]);
  });
});
