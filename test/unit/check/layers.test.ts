import { describe, expect, test } from 'vitest';
// @ts-expect-error plain JavaScript that runs before anything is compiled
import { circles, importFaults, layerFaults, readLayers } from '../../check/layers.mjs';

const PAGE = `
| folder | is | may import |
|---|---|---|
| \`sdk/\` | the library | its own packages |
| \`device/\` | the service | the public entries of \`scenebus\` |
| \`test/\` | tests | all |

Inside \`sdk/\`, downward only:

\`\`\`
index.ts    public exports
model/      joins them       -> engine core
engine/     backends         -> core
  cpu/      own kernels      -> shared
  shared/   in common
core/       errors           -> node
\`\`\`
`;

const layers = readLayers(PAGE);
const faults = (from: string, to: string): string[] => importFaults(layers, [{ from, to, specifier: '' }]);

describe('the layout', () => {
  test.each([
    ['sdk/model/load.ts', 'sdk/engine/engine.ts'],
    ['sdk/model/load.ts', 'sdk/engine/cpu/cpu.ts'],
    ['sdk/engine/cpu/cpu.ts', 'sdk/engine/shared/checks.ts'],
    ['sdk/engine/cpu/cpu.ts', 'sdk/engine/engine.ts'],
    ['sdk/engine/cpu/cpu.ts', 'sdk/core/errors.ts'],
    ['sdk/engine/index.ts', 'sdk/engine/cpu/cpu.ts'],
    ['sdk/index.ts', 'sdk/model/load.ts'],
    ['device/cli/main.ts', 'scenebus/client'],
    ['test/unit/a.test.ts', 'sdk/core/errors.ts'],
  ])('lets %s import %s', (from, to) => expect(faults(from, to)).toEqual([]));

  test.each([
    ['sdk/engine/engine.ts', 'sdk/model/load.ts'],
    ['sdk/core/errors.ts', 'sdk/engine/engine.ts'],
    ['sdk/engine/shared/checks.ts', 'sdk/engine/cpu/cpu.ts'],
    ['sdk/engine/cpu/cpu.ts', 'sdk/engine/index.ts'],
    ['sdk/engine/cpu/cpu.ts', 'sdk/model/load.ts'],
    ['sdk/model/load.ts', 'sdk/unlisted/a.ts'],
    ['sdk/model/load.ts', 'device/cli/main.ts'],
    ['device/cli/main.ts', 'sdk/core/errors.ts'],
    ['elsewhere/a.ts', 'sdk/core/errors.ts'],
  ])('refuses that %s imports %s', (from, to) => expect(faults(from, to)).toEqual([`${from} imports ${to}`]));

  test('must itself point downward and name folders that are there', () => {
    const folders = new Set([
      'sdk/model',
      'sdk/engine',
      'sdk/engine/cpu',
      'sdk/engine/shared',
      'sdk/core',
      'sdk/extra',
    ]);
    expect(layerFaults(layers, folders)).toEqual(['sdk/extra is there and not listed']);
    const upward = readLayers(PAGE.replace('-> node', '-> model'));
    expect(layerFaults(upward, folders)).toContain('sdk/core -> model: the arrow points upward');
    const unknown = readLayers(PAGE.replace('-> shared', '-> sharde'));
    expect(layerFaults(unknown, folders)).toContain('sdk/engine/cpu -> sharde: no such folder further down');
    folders.delete('sdk/core');
    expect(layerFaults(layers, folders)).toContain('sdk/core is listed and not there');
  });
});

describe('circles', () => {
  test('are found once, wherever one enters them', () => {
    const imports = [
      { from: 'a', to: 'b' },
      { from: 'b', to: 'c' },
      { from: 'c', to: 'b' },
      { from: 'c', to: 'd' },
    ];
    expect(circles(imports)).toEqual([['b', 'c', 'b']]);
  });

  test('are none where two ways lead to one file', () => {
    const imports = [
      { from: 'a', to: 'b' },
      { from: 'a', to: 'c' },
      { from: 'b', to: 'd' },
      { from: 'c', to: 'd' },
    ];
    expect(circles(imports)).toEqual([]);
  });
});
