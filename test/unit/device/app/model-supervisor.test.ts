import { SdkError, silentLogger, type VisionLanguageModel } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { ModelSupervisor, type ModelSupervisorOptions } from '#device/app/model-supervisor.js';

const never = new AbortController().signal;

/** Models that are told apart by number; nothing of a model but its life matters here. */
function fakeModels() {
  const disposed: number[] = [];
  let loads = 0;
  const load = async (): Promise<VisionLanguageModel> => {
    const number = ++loads;
    const model = {
      info: { name: `model ${number}` },
      [Symbol.asyncDispose]: async () => void disposed.push(number),
    };
    return model as unknown as VisionLanguageModel;
  };
  return { load, disposed, loads: () => loads };
}

async function startSupervisor(load: ModelSupervisorOptions['load'], hangMs?: number) {
  const health: (string | undefined)[] = [];
  let back: () => void = () => {};
  const recovered = new Promise<void>((resolve) => {
    back = resolve;
  });
  const supervisor = await ModelSupervisor.start(
    {
      load,
      logger: silentLogger,
      backoff: { initialMs: 1, maximumMs: 4 },
      hangMs,
      onHealth: (error) => {
        health.push(error?.code);
        if (error === undefined) back();
      },
    },
    never,
  );
  return { supervisor, health, recovered };
}
const fail = (code: 'ERR_ENGINE_DIED' | 'ERR_ENGINE_FAILED' | 'ERR_PROMPT_INVALID') => async () => {
  throw new SdkError(code, 'as the test wants');
};

describe('the model supervisor', () => {
  test('reports a first load that fails to its caller', async () => {
    const load = async (): Promise<VisionLanguageModel> => {
      throw new SdkError('ERR_MODEL_NOT_FOUND', 'no such folder');
    };
    await expect(startSupervisor(load)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });

  test.each(['ERR_ENGINE_DIED', 'ERR_ENGINE_OUT_OF_MEMORY'] as const)(
    'tries a first load again that ended with %s; callers are told meanwhile',
    async (code) => {
      const models = fakeModels();
      const load = async () => {
        const model = await models.load();
        if (models.loads() < 3) throw new SdkError(code, 'as the test wants');
        return model;
      };
      const { supervisor, health, recovered } = await startSupervisor(load);
      await expect(supervisor.use(async () => 'x', never)).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
      await recovered;
      expect(await supervisor.use(async (model) => model.info.name, never)).toBe('model 3');
      expect(models.disposed).toEqual([]);
      expect(health).toEqual(['ERR_ENGINE_DIED', 'ERR_ENGINE_DIED', undefined]);
      await supervisor[Symbol.asyncDispose]();
    },
  );

  test('replaces an engine that died, and says so meanwhile', async () => {
    const models = fakeModels();
    const { supervisor, health, recovered } = await startSupervisor(models.load);
    await expect(supervisor.use(fail('ERR_ENGINE_DIED'), never)).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    await expect(supervisor.use(async () => 'x', never)).rejects.toThrow(/not available now .* Ask again later/);
    await recovered;
    expect(await supervisor.use(async (model) => model.info.name, never)).toBe('model 2');
    expect(models.disposed).toEqual([1]);
    // Once while its memory is freed, once while it waits for the next load.
    expect(health).toEqual(['ERR_ENGINE_DIED', 'ERR_ENGINE_DIED', undefined]);
    expect(supervisor.restarts).toBe(1);
  });

  test('goes on trying while the model cannot be loaded', async () => {
    const models = fakeModels();
    const load = async () => {
      const model = await models.load();
      if (models.loads() === 2 || models.loads() === 3) throw new SdkError('ERR_ENGINE_OUT_OF_MEMORY', 'full');
      return model;
    };
    const { supervisor, health, recovered } = await startSupervisor(load);
    await supervisor.use(fail('ERR_ENGINE_DIED'), never).catch(() => {});
    await recovered;
    expect(await supervisor.use(async (model) => model.info.name, never)).toBe('model 4');
    expect(health).toHaveLength(5);
  });

  test('keeps an engine after a bad question, and after a single failure', async () => {
    const models = fakeModels();
    const { supervisor } = await startSupervisor(models.load);
    for (let i = 0; i < 5; i++) await supervisor.use(fail('ERR_PROMPT_INVALID'), never).catch(() => {});
    for (let i = 0; i < 2; i++) await supervisor.use(fail('ERR_ENGINE_FAILED'), never).catch(() => {});
    await supervisor.use(async () => 'well', never);
    await supervisor.use(fail('ERR_ENGINE_FAILED'), never).catch(() => {});
    expect(models.loads()).toBe(1);
  });

  test('does not trust an engine that fails three times in a row', async () => {
    const models = fakeModels();
    const { supervisor, recovered } = await startSupervisor(models.load);
    for (let i = 0; i < 3; i++) await supervisor.use(fail('ERR_ENGINE_FAILED'), never).catch(() => {});
    await recovered;
    expect(await supervisor.use(async (model) => model.info.name, never)).toBe('model 2');
  });

  test('replaces an engine that does not come back after an abort', async () => {
    const models = fakeModels();
    const { supervisor, recovered } = await startSupervisor(models.load, 1);
    const caller = new AbortController();
    const hanging = supervisor.use(() => new Promise(() => {}), caller.signal);
    caller.abort();
    await expect(hanging).rejects.toThrow('The engine hangs');
    await recovered;
    expect(supervisor.info?.name).toBe('model 2');
  });

  test('releases the model once and refuses work afterwards', async () => {
    const models = fakeModels();
    const { supervisor } = await startSupervisor(models.load);
    await supervisor[Symbol.asyncDispose]();
    await supervisor[Symbol.asyncDispose]();
    expect(models.disposed).toEqual([1]);
    await expect(supervisor.use(async () => 'x', never)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  test('stops trying when it is closed', async () => {
    const models = fakeModels();
    const { supervisor } = await startSupervisor(async () => {
      if (models.loads() > 0) throw new SdkError('ERR_ENGINE_FAILED', 'never again');
      return models.load();
    });
    await supervisor.use(fail('ERR_ENGINE_DIED'), never).catch(() => {});
    await supervisor[Symbol.asyncDispose]();
    expect(models.disposed).toEqual([1]);
  });

  test('loads nothing before the memory of the lost model is back', async () => {
    const models = fakeModels();
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const load = async () => {
      const model = await models.load();
      return models.loads() === 1 ? { ...model, [Symbol.asyncDispose]: () => released } : model;
    };
    const { supervisor, recovered } = await startSupervisor(load);
    await supervisor.use(fail('ERR_ENGINE_DIED'), never).catch(() => {});
    await expect(supervisor.use(async () => 'x', never)).rejects.toThrow(/memory is being freed/);
    // Far more turns than a load of these models takes.
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(models.loads()).toBe(1);
    release();
    await recovered;
    expect(models.loads()).toBe(2);
  });

  test('loads again although the lost model cannot be released cleanly', async () => {
    const models = fakeModels();
    const load = async () => {
      const model = await models.load();
      const failing = { ...model, [Symbol.asyncDispose]: () => Promise.reject(new Error('stuck')) };
      return models.loads() === 1 ? failing : model;
    };
    const { supervisor, recovered } = await startSupervisor(load);
    await supervisor.use(fail('ERR_ENGINE_DIED'), never).catch(() => {});
    await recovered;
    expect(supervisor.info?.name).toBe('model 2');
  });

  test('can be closed while it waits for memory that never comes back', async () => {
    const models = fakeModels();
    const load = async () => ({ ...(await models.load()), [Symbol.asyncDispose]: () => new Promise<void>(() => {}) });
    const { supervisor } = await startSupervisor(load);
    await supervisor.use(fail('ERR_ENGINE_DIED'), never).catch(() => {});
    await supervisor[Symbol.asyncDispose]();
    expect(models.loads()).toBe(1);
  });
});

describe('a model in a process of its own', () => {
  /** A model whose process can be ended by the test. */
  function isolatedModels() {
    const models = fakeModels();
    const ends: ((error: SdkError | undefined) => void)[] = [];
    const memories: string[] = [];
    const load = async (_: AbortSignal, memory: string): Promise<VisionLanguageModel> => {
      memories.push(memory);
      const ended = new Promise<SdkError | undefined>((resolve) => ends.push(resolve));
      const process = { pid: 1, memory: () => ({ rssBytes: 7, peakRssBytes: 8, sharedBytes: 0 }), ended };
      return { ...(await models.load()), process } as VisionLanguageModel;
    };
    const end = (how: string) => ends.at(-1)!(new SdkError('ERR_ENGINE_DIED', 'ended', { details: { how } }));
    return { load, end, memories, models, ends };
  }
  const turns = async () => {
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  };

  test('is loaded again when its process ends, although nobody asks', async () => {
    const { load, end } = isolatedModels();
    const { supervisor, health, recovered } = await startSupervisor(load);
    expect(supervisor.memory?.rssBytes).toBe(7);
    end('SIGSEGV');
    await recovered;
    expect(supervisor.info?.name).toBe('model 2');
    expect(health.at(0)).toBe('ERR_ENGINE_DIED');
  });

  test('is replaced once when a call and the end of its process both tell', async () => {
    const { load, end, models } = isolatedModels();
    const { supervisor, recovered } = await startSupervisor(load);
    const call = supervisor.use(fail('ERR_ENGINE_DIED'), never);
    end('SIGSEGV');
    await expect(call).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
    await recovered;
    await turns();
    expect([models.loads(), supervisor.restarts]).toEqual([2, 1]);
  });

  test('is not loaded again when it was told to end', async () => {
    const { load, ends, models } = isolatedModels();
    const { supervisor } = await startSupervisor(load);
    await supervisor[Symbol.asyncDispose]();
    ends[0]!(undefined);
    await turns();
    expect(models.loads()).toBe(1);
  });

  test('is given smaller caches after it was killed three times in a row', async () => {
    const { load, end, memories } = isolatedModels();
    const { supervisor } = await startSupervisor(load);
    for (let restarts = 1; restarts <= 4; restarts++) {
      end('SIGKILL');
      await expect.poll(() => supervisor.restarts).toBe(restarts);
    }
    expect(memories).toEqual(['full', 'full', 'full', 'small', 'small']);
  });
});

describe('a model that runs out of memory', () => {
  const outOfMemory = async () => {
    throw new SdkError('ERR_ENGINE_OUT_OF_MEMORY', 'no room for 210 MB');
  };
  const threeTimes = async (supervisor: ModelSupervisor) => {
    for (let i = 0; i < 3; i++) await supervisor.use(outOfMemory, never).catch(() => {});
  };

  test('is kept after two failures, and after failures with answers in between', async () => {
    const models = fakeModels();
    const { supervisor } = await startSupervisor(models.load);
    for (let i = 0; i < 5; i++) {
      await supervisor.use(outOfMemory, never).catch(() => {});
      await supervisor.use(outOfMemory, never).catch(() => {});
      await supervisor.use(async () => 'well', never);
    }
    expect(models.loads()).toBe(1);
  });

  test('is loaded once more, with smaller caches; then the reason is told and nothing is loaded over and over', async () => {
    const models = fakeModels();
    const memories: string[] = [];
    const load = (_: AbortSignal, memory: string) => {
      memories.push(memory);
      return models.load();
    };
    const { supervisor, health, recovered } = await startSupervisor(load);
    await threeTimes(supervisor);
    await recovered;
    expect(memories).toEqual(['full', 'small']);
    for (let i = 0; i < 5; i++) await threeTimes(supervisor);
    expect(memories).toEqual(['full', 'small']);
    expect(health.at(-1)).toBe('ERR_ENGINE_OUT_OF_MEMORY');
    expect(supervisor.info?.name).toBe('model 2'); // smaller pictures may still fit
    await supervisor.use(async () => 'well', never);
    expect(health.at(-1)).toBeUndefined();
  });
});
