import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SdkError } from 'scenebus';
import type { RequestOf, ResultOf, VerbName, WatchDefinition } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import type { CameraSettings } from '#device/features/camera-settings.js';
import { startWatches } from '#device/features/watches/start-watches.js';
import {
  type FakeContext,
  fakeContext,
  fakeFrame,
  fakeModel,
  type ModelCall,
} from '../../../../support/device-fakes.js';

const person: WatchDefinition = { id: 'person', question: 'Is there a person?', answerType: 'yes-no' };

/** The bus, as far as its verbs go. */
class Verbs {
  readonly handlers = new Map<string, (request: never, context: never) => Promise<unknown>>();

  handle(verb: VerbName, handler: (request: never, context: never) => Promise<unknown>) {
    this.handlers.set(verb, handler);
    return () => this.handlers.delete(verb);
  }

  async call<Verb extends VerbName>(verb: Verb, request: Partial<RequestOf<Verb>>): Promise<ResultOf<Verb>> {
    return (await this.handlers.get(verb)!(request as never, {} as never)) as ResultOf<Verb>;
  }
}

class FakeSettings implements CameraSettings {
  readonly off = new Set<string>();
  privacy = false;
  #listener = () => {};
  isOn(camera: string, setting: string) {
    return setting === 'privacy' ? this.privacy : !this.off.has(`${camera}/${setting}`);
  }
  onChange(listener: () => void) {
    this.#listener = listener;
    return () => {};
  }
  changed() {
    this.#listener();
  }
}

interface Started extends AsyncDisposable {
  readonly context: FakeContext;
  readonly verbs: Verbs;
  readonly settings: FakeSettings;
  readonly calls: ModelCall[];
  /** A new frame, looked at to the end. Frames of another level are a change. */
  show(level: number): Promise<void>;
  events(): string[];
  reconfigure(): Promise<void>;
}

type Decides = Parameters<typeof fakeModel>[1];

async function start(
  watches: WatchDefinition[],
  options: {
    decides?: Decides;
    before?: (call: ModelCall) => Promise<void>;
    file?: string;
    cameras?: string[];
    context?: FakeContext;
  } = {},
): Promise<Started> {
  const { model, calls } = fakeModel(options.before, options.decides);
  const cameras = (options.cameras ?? ['cam']).map((id) => ({ id, address: 'test:moving' }));
  const context = await fakeContext(model, { watches, cameras } as object);
  const verbs = new Verbs();
  const settings = new FakeSettings();
  const running = await startWatches({ context, settings, verbs: verbs as never, file: options.file });
  let number = 0;
  return {
    context,
    verbs,
    settings,
    calls,
    async show(level) {
      const feed = context.feeds[0]!;
      feed.push(fakeFrame(++number, level));
      await feed.drained();
      await context.hub.idle();
    },
    events: () =>
      context.events.flatMap((event) =>
        event.kind === 'watch' ? [`${event.body.watch} ${event.body.type} ${event.body.value}`] : [],
      ),
    reconfigure: () => running.reconfigure(),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

const temporary = async () => join(await mkdtemp(join(tmpdir(), 'scenebus-watches-')), 'watches.json');

describe('watches', () => {
  test('are asked when the scene changes, not when it does not, and tell what changed', async () => {
    let value = false;
    await using run = await start([person], { decides: () => ({ value, probability: 0.8 }) });
    await run.show(0);
    await run.show(0);
    expect(run.calls).toHaveLength(1);
    expect(run.calls[0]).toMatchObject({ kind: 'decide', question: person.question });
    expect(run.calls[0]!.options).toMatchObject({ priority: 'watch', caller: 'watch/cam' });
    expect(run.events()).toEqual([]);
    expect(await run.context.next('watchState')).toMatchObject({
      camera: 'cam',
      body: { watch: 'person', state: { value: false, eventId: null, probability: 0.8 } },
    });
    value = true;
    await run.show(200);
    expect(run.events()).toEqual(['person new true']);
    const event = await run.context.next('watch');
    expect(event).toMatchObject({
      camera: 'cam',
      frame: { id: 'cam-3' },
      body: { previous: false, probability: 0.8, question: person.question, model: { id: 'fake', hash: 'hash' } },
    });
    expect((await run.context.next('watchState', 2)).body.state).toMatchObject({
      value: true,
      eventId: event.body.eventId,
    });
    value = false;
    await run.show(0);
    expect(run.events()).toEqual(['person new true', 'person end false']);
  });

  test('with an interval are asked by the clock, whatever changes', async () => {
    await using run = await start([{ ...person, intervalSeconds: 10 }]);
    await run.show(0);
    await run.show(200);
    expect(run.calls).toHaveLength(1);
    run.context.advance(9_999);
    await run.show(0);
    expect(run.calls).toHaveLength(1);
    run.context.advance(1);
    await run.show(0);
    expect(run.calls).toHaveLength(2);
  });

  test('are asked again until enough answers agree', async () => {
    const answers = [true, false, true, true];
    await using run = await start([{ ...person, agree: { count: 2, of: 2 } }], {
      decides: () => ({ value: answers.shift() ?? true, probability: 1 }),
    });
    for (const level of [0, 0, 0, 0, 0, 0]) await run.show(level);
    expect(run.events()).toEqual(['person new true']);
    expect(run.calls).toHaveLength(4);
  });

  test('have their hours: outside of them nothing is asked, and what lasts ends', async () => {
    // The fake clock begins at noon.
    await using run = await start([
      { ...person, schedule: [{ from: '11:00', to: '12:30' }] },
      { ...person, id: 'always' },
    ]);
    await run.show(0);
    expect(run.events()).toEqual(['person new true', 'always new true']);
    run.context.advance(30 * 60_000);
    await run.show(200);
    expect(run.events().slice(2)).toEqual(['person end true']);
    expect(run.calls.filter(({ question }) => question === person.question)).toHaveLength(3);
    run.context.advance(23 * 3_600_000);
    await run.show(200);
    expect(run.events().slice(3)).toEqual(['person new true']);
  });

  test('of several cameras look at theirs only', async () => {
    await using run = await start([{ ...person, cameras: ['right'] }], { cameras: ['cam', 'right'] });
    run.context.feeds[1]!.push(fakeFrame(1));
    await run.context.feeds[1]!.drained();
    expect(await run.verbs.call('watch/list', {})).toMatchObject({
      watches: [{ watch: { id: 'person' }, origin: 'config', cameras: [{ camera: 'right', value: true }] }],
    });
    expect(run.calls.map(({ options }) => options.caller)).toEqual(['watch/right']);
  });

  test('are added, changed and removed while the device runs', async () => {
    await using run = await start([], { decides: () => ({ value: true, probability: 1 }) });
    const added = await run.verbs.call('watch/add', { watch: person });
    expect(added).toEqual({
      watch: {
        watch: person,
        origin: 'bus',
        cameras: [{ camera: 'cam', value: null, probability: null, eventId: null }],
      },
    });
    await run.show(0);
    expect(run.events()).toEqual(['person new true']);
    // The same again is what a controller does that starts again.
    expect((await run.verbs.call('watch/add', { watch: { ...person } })).watch.cameras[0]?.value).toBe(true);
    await expect(run.verbs.call('watch/add', { watch: { ...person, question: 'Other?' } })).rejects.toMatchObject({
      code: 'ERR_REQUEST_INVALID',
      message: expect.stringContaining('watch/change'),
    });
    const changes = { question: 'Is there a dog?', quietSeconds: 5, region: null };
    const changed = await run.verbs.call('watch/change', { id: 'person', changes });
    expect(changed.watch.watch).toEqual({ ...person, question: 'Is there a dog?', quietSeconds: 5 });
    await run.show(0);
    expect(run.events()).toEqual(['person new true', 'person end true', 'person new true']);
    expect(run.calls.at(-1)!.question).toBe('Is there a dog?');
    expect(await run.verbs.call('watch/remove', { id: 'person' })).toEqual({ id: 'person' });
    await run.context.hub.idle();
    expect(run.events().at(-1)).toBe('person end true');
    expect(run.context.events.filter(({ kind }) => kind === 'watchState').at(-1)).toMatchObject({
      body: { watch: 'person', state: null },
    });
    expect(await run.verbs.call('watch/list', {})).toEqual({ watches: [] });
  });

  test('refuse what cannot be, and say what would do', async () => {
    await using run = await start([person]);
    const refused = { code: 'ERR_REQUEST_INVALID' };
    const other = { ...person, id: 'other' };
    await expect(run.verbs.call('watch/add', { watch: { ...other, cameras: ['away'] } })).rejects.toThrow(
      /cameras of cam/,
    );
    await run.verbs.call('watch/add', { watch: other });
    await expect(run.verbs.call('watch/change', { id: 'other', changes: { answerType: 'choice' } })).rejects.toThrow(
      /choices/,
    );
    await expect(run.verbs.call('watch/remove', { id: 'person' })).rejects.toThrow(/in the configuration/);
    for (const id of ['constructor', '__proto__', 'nobody', '']) {
      await expect(run.verbs.call('watch/change', { id, changes: {} })).rejects.toMatchObject(refused);
      await expect(run.verbs.call('watch/remove', { id })).rejects.toMatchObject(refused);
    }
    for (let i = 0; i < 62; i++) await run.verbs.call('watch/add', { watch: { ...person, id: `watch-${i}` } });
    await expect(run.verbs.call('watch/add', { watch: { ...person, id: 'last' } })).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
    });
  });

  test('may be called what objects have already', async () => {
    await using run = await start([]);
    for (const id of ['constructor', 'toString', 'hasOwnProperty'])
      await run.verbs.call('watch/add', { watch: { ...person, id } });
    await run.show(0);
    expect(run.events()).toEqual(['constructor new true', 'toString new true', 'hasOwnProperty new true']);
  });

  test('survive a restart with what they found, and a damaged file is set aside', async () => {
    const file = await temporary();
    let eventId: string;
    {
      await using run = await start([], { file });
      await run.verbs.call('watch/add', { watch: person });
      await run.show(0);
      eventId = (await run.context.next('watch')).body.eventId;
    }
    {
      await using run = await start([], { file, decides: () => ({ value: false, probability: 1 }) });
      expect(await run.verbs.call('watch/list', {})).toMatchObject({
        watches: [{ watch: person, origin: 'bus', cameras: [{ value: true, eventId }] }],
      });
      await run.show(0);
      expect(run.events()).toEqual(['person end false']);
      expect((await run.context.next('watch')).body.eventId).toBe(eventId);
      await run.verbs.call('watch/remove', { id: 'person' });
    }
    {
      await using run = await start([], { file });
      expect(await run.verbs.call('watch/list', {})).toEqual({ watches: [] });
    }
    await writeFile(file, '{"watches": [{"id": "../../etc"}]}');
    await using run = await start([person], { file });
    expect((await run.verbs.call('watch/list', {})).watches).toHaveLength(1);
    expect(await readFile(`${file}.damaged`, 'utf8')).toContain('../../etc');
  });

  test('stop while they are switched off or privacy is on', async () => {
    await using run = await start([person]);
    await run.show(0);
    expect(run.events()).toEqual(['person new true']);
    run.settings.off.add('cam/watches');
    run.settings.changed();
    await run.context.hub.idle();
    expect(run.events()).toEqual(['person new true', 'person end true']);
    run.context.feeds[0]!.push(fakeFrame(9, 200)); // taken, or not, but not asked about
    await new Promise((resolve) => setImmediate(resolve));
    expect(run.calls).toHaveLength(1);
    run.settings.off.clear();
    run.settings.changed();
    await run.show(0);
    expect(run.events().slice(2)).toEqual(['person new true']);
    run.settings.privacy = true;
    run.settings.changed();
    await run.context.hub.idle();
    expect(run.events().slice(3)).toEqual(['person end true']);
  });

  test('that fail are told of as problems and hold up no other', async () => {
    let isFailing = true;
    await using run = await start([person, { ...person, id: 'other', question: 'Other?' }], {
      before: async ({ question }) => {
        if (isFailing && question === person.question) throw new SdkError('ERR_CONTEXT_OVERFLOW', 'too long');
      },
    });
    await run.show(0);
    expect(run.events()).toEqual(['other new true']);
    expect(run.context.problems.list).toMatchObject([{ code: 'ERR_CONTEXT_OVERFLOW' }]);
    await run.show(200);
    expect(run.calls.filter(({ question }) => question === person.question)).toHaveLength(1); // it pauses
    isFailing = false;
    run.context.advance(2_000);
    await run.show(200);
    expect(run.events()).toEqual(['other new true', 'person new true']);
    expect(run.context.problems.list).toEqual([]);
  });

  test('of a configuration change with it: what is the same goes on, what is gone ends', async () => {
    const cup: WatchDefinition = { id: 'cup', question: 'Is there a cup?', answerType: 'yes-no' };
    await using run = await start([person, cup]);
    await run.show(0);
    expect(run.events()).toEqual(['person new true', 'cup new true']);
    Object.assign(run.context, {
      config: { ...run.context.config, watches: [{ ...person }, { ...cup, id: 'new' }] },
    });
    await run.reconfigure();
    await run.context.hub.idle();
    expect(run.events().slice(2)).toEqual(['cup end true']);
    expect(run.context.events.findLast(({ kind }) => kind === 'watchState')).toMatchObject({
      body: { watch: 'cup', state: null },
    });
    await run.show(0);
    expect(run.events().slice(3)).toEqual(['new new true']);
    expect(run.calls.filter(({ question }) => question === person.question)).toHaveLength(1);
  });

  test('in words tell the words; nothing else is written', async () => {
    await using run = await start([{ ...person, answerType: 'text', question: 'What is it?' }]);
    await run.show(0);
    expect(run.calls.map(({ kind }) => kind)).toEqual(['ask']);
    expect((await run.context.next('watch')).body).toMatchObject({
      value: 'ask cam-1',
      probability: null,
      evidence: { text: 'ask cam-1', objects: [] },
    });
  });

  test('added after a clip has ended are asked about its last frame', async () => {
    await using run = await start([person]);
    await run.show(0);
    run.context.feeds[0]!.push('end');
    await run.verbs.call('watch/add', { watch: { ...person, id: 'late' } });
    await run.context.next('watch', 2);
    expect(run.events()).toEqual(['person new true', 'late new true']);
  });
});
