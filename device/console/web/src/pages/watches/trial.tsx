import { useEffect, useRef, useState } from 'preact/hooks';
import type { TrialEvent, WatchDefinition } from '../../../../api/watch-schemas.js';
import { tryWatch } from '../../api.js';
import { BoxedPicture } from '../../boxed-picture.js';
import { messageOf } from '../../messages.js';
import { percent, wordsOf } from '../../words.js';
import { Strip, type StripSpan } from './strip.js';

type Look = Extract<TrialEvent, { type: 'look' }>;
type Start = Extract<TrialEvent, { type: 'start' }>;
type Result = Extract<TrialEvent, { type: 'result' }>;

interface Run {
  readonly camera: string;
  readonly isPast: boolean;
  readonly start: Start | undefined;
  readonly looks: readonly Look[];
  readonly result: Result | undefined;
  readonly failure: string | undefined;
}

export interface TrialProps {
  /** undefined: it is not complete yet. */
  readonly watch: WatchDefinition | undefined;
  readonly cameras: readonly string[];
}

const MINUTES = 60;
const SHOWN_MOMENTS = 8;

/** A watch before it is switched on: what would it say now, and how often would it have told of something? */
export function Trial({ watch, cameras }: TrialProps) {
  const [camera, setCamera] = useState<string>();
  const [run, setRun] = useState<Run>();
  const running = useRef<AbortController | undefined>(undefined);
  const at = camera !== undefined && cameras.includes(camera) ? camera : cameras[0];
  const isBusy = run !== undefined && run.result === undefined && run.failure === undefined;

  useEffect(() => () => running.current?.abort(), []);

  const start = async (isPast: boolean): Promise<void> => {
    if (watch === undefined || at === undefined) return;
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    let now: Run = { camera: at, isPast, start: undefined, looks: [], result: undefined, failure: undefined };
    const set = (part: Partial<Run>): void => {
      now = { ...now, ...part };
      if (running.current === abort) setRun(now);
    };
    set({});
    try {
      const input = { watch, camera: at, ...(isPast ? { lastMinutes: MINUTES } : {}) };
      for await (const event of tryWatch(input, abort.signal)) {
        if (event.type === 'start') set({ start: event });
        if (event.type === 'look') set({ looks: [...now.looks, event] });
        if (event.type === 'result') set({ result: event });
        if (event.type === 'error') set({ failure: event.message });
      }
      if (now.result === undefined && now.failure === undefined) set({ failure: 'The device ended before it was done.' });
    } catch (error) {
      set({ failure: abort.signal.aborted ? 'Stopped.' : messageOf(error) });
    }
  };

  return (
    <section class="trial" aria-label="Try it">
      <div class="actions">
        {cameras.length > 1 && (
          <label>
            Try at
            <select value={at} onChange={({ currentTarget }) => setCamera(currentTarget.value)}>
              {cameras.map((id) => (
                <option key={id}>{id}</option>
              ))}
            </select>
          </label>
        )}
        <button type="button" class="quiet" disabled={watch === undefined || isBusy} onClick={() => void start(false)}>
          Try on the picture of now
        </button>
        <button type="button" class="quiet" disabled={watch === undefined || isBusy} onClick={() => void start(true)}>
          Try on the last hour
        </button>
        {isBusy && (
          <button type="button" class="quiet" onClick={() => running.current?.abort()}>
            Stop
          </button>
        )}
      </div>
      <div aria-live="polite" aria-busy={isBusy}>
        {run?.failure !== undefined && <p class="failure">{run.failure}</p>}
        {run !== undefined && (run.isPast ? <Past run={run} /> : <Now run={run} />)}
      </div>
    </section>
  );
}

function Now({ run: { camera, looks, result } }: { readonly run: Run }) {
  const [seen] = looks;
  if (seen === undefined) return null;
  return (
    <div class="now" data-answer={String(seen.answer)}>
      <BoxedPicture frame={seen.frame} camera={camera} run={seen.run} objects={result?.objects} alt={`${camera} now`} />
      <p class="answer">
        {seen.answer === null ? 'No answer' : wordsOf(seen.answer)}{' '}
        {seen.probability !== null && <small>{percent(seen.probability)} sure</small>}
      </p>
    </div>
  );
}

function Past({ run: { camera, start, looks, result } }: { readonly run: Run }) {
  if (start === undefined) return <p class="facts">The journal is being read…</p>;
  if (start.pictures === 0)
    return (
      <p class="hint">
        No picture of {camera} was kept in the last hour. The setting journal.frames keeps them; then a watch can be
        tried.
      </p>
    );
  const fired = looks.filter(({ event }) => event === 'new');
  const asked = looks.filter(({ answer }) => answer !== null).length;
  const last = looks.at(-1);
  return (
    <>
      {result === undefined ? (
        <label class="progress">
          {looks.length} of {start.pictures} pictures
          <progress max={start.pictures} value={looks.length} />
        </label>
      ) : (
        <p class="verdict" data-fired={result.fired}>
          <b>Would have fired {times(result.fired)}.</b>{' '}
          <span class="facts">
            {start.pictures} pictures were kept{start.isCut ? ' (the newest of more)' : ''}, {asked} of them would have
            been asked about; what happened between them is not known.
          </span>
        </p>
      )}
      {last !== undefined && (
        <Strip
          spans={spansOf(looks)}
          fromMs={looks[0]!.atMs}
          toMs={Math.max(last.atMs, looks[0]!.atMs + 1)}
          label={`States over the pictures: fired ${times(fired.length)}`}
        />
      )}
      {fired.length > 0 && (
        <ol class="moments">
          {fired.slice(-SHOWN_MOMENTS).map(({ atMs, frame, run, answer, probability }) => (
            <li key={atMs}>
              <BoxedPicture frame={frame} camera={camera} run={run} alt="" isThumbnail />
              <span class="facts">
                {new Date(atMs).toLocaleTimeString()}: {answer === null ? '' : wordsOf(answer)}
                {probability === null ? '' : `, ${percent(probability)}`}
              </span>
            </li>
          ))}
        </ol>
      )}
    </>
  );
}

/** From each picture to the next. */
function spansOf(looks: readonly Look[]): StripSpan[] {
  return looks.slice(0, -1).map(({ atMs, value, probability, isLasting }, index) => {
    return { fromMs: atMs, toMs: looks[index + 1]!.atMs, value, probability, isLasting };
  });
}

function times(count: number): string {
  return count === 0 ? 'never' : count === 1 ? 'once' : `${count} times`;
}
