/**
 * A model process that says when it reaches a stage and then behaves as its folder's name asks: `DIRECTORY#STAGE=ACTION`.
 * Stages: load, encode, prefill, decode, dispose. Everything else is the product's, the real engine too.
 */

import { SdkError } from '#sdk/core/errors.js';
import type { Logger } from '#sdk/core/logger.js';
import type { Engine, Sequence } from '#sdk/engine/engine.js';
import { openCpuEngine } from '#sdk/engine/index.js';
import { loadModelOn } from '#sdk/model/load-model.js';
import { serveModel } from '#sdk/model/process/serve.js';

const ACTIONS: Readonly<Record<string, () => void | Promise<void>>> = {
  go: () => {},
  hold: () => new Promise(() => {}),
  spin: () => {
    for (;;);
  },
  crash: () => {
    console.error('last words: the driver is gone');
    process.abort();
  },
  poison: () => {
    throw new SdkError('ERR_ENGINE_DIED', 'CUDA: an illegal memory access was encountered (700)');
  },
};

function staged(engine: Engine, reach: (stage: string) => void | Promise<void>): Engine {
  const reals = new WeakMap<Sequence, Sequence>();
  const stageOf = (tokens: Int32Array) => (tokens.length > 1 ? 'prefill' : 'decode');
  const sequence = (real: Sequence): Sequence => {
    const outer: Sequence = {
      get length() {
        return real.length;
      },
      async forward(tokens, options) {
        await reach(stageOf(tokens));
        return await real.forward(tokens, options);
      },
      truncate: (length) => real.truncate(length),
      [Symbol.dispose]: () => real[Symbol.dispose](),
    };
    reals.set(outer, real);
    return outer;
  };
  return {
    info: engine.info,
    async encodeImage(image, options) {
      await reach('encode');
      return await engine.encodeImage(image, options);
    },
    createSequence: () => sequence(engine.createSequence()),
    async step(slices) {
      try {
        await reach(stageOf(slices[0]!.tokens));
      } catch (reason) {
        return slices.map(() => ({ status: 'rejected', reason }));
      }
      return await engine.step(slices.map((slice) => ({ ...slice, sequence: reals.get(slice.sequence)! })));
    },
    async [Symbol.asyncDispose]() {
      await reach('dispose');
      await engine[Symbol.asyncDispose]();
    },
  };
}

serveModel(async (given, options) => {
  const [directory, stage, action] = given.split(/[#=]/) as [string, string?, string?];
  const logger = options.logger as Logger;
  const reach = (reached: string) => {
    logger.log('debug', `stage ${reached}`);
    if (reached !== stage) return;
    // The message is on its way before anything stops this thread.
    return new Promise<void>((resolve, reject) => {
      setImmediate(() =>
        Promise.resolve()
          .then(ACTIONS[action ?? 'go'])
          .then(resolve, reject),
      );
    });
  };
  await reach('load');
  const backends = {
    cpu: async (...args: Parameters<typeof openCpuEngine>) => staged(await openCpuEngine(...args), reach),
  };
  return loadModelOn(backends, directory, { ...options, backend: 'cpu' });
});
