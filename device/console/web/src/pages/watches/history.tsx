import { useEffect, useState } from 'preact/hooks';
import type { WatchHistory } from '../../../../api/watch-schemas.js';
import { get } from '../../api.js';
import { BoxedPicture } from '../../boxed-picture.js';
import { messageOf } from '../../messages.js';
import { percent, wordsOf } from '../../words.js';
import { Strip } from './strip.js';

const PERIODS = [
  [1, 'last hour'],
  [24, 'last day'],
  [168, 'last week'],
] as const;
const TYPE_WORDS = { new: 'began', update: 'changed', end: 'ended' } as const;
const LOOK_AGAIN_MS = 15_000;

export interface HistoryProps {
  readonly id: string;
  /** Another one: something has happened. */
  readonly newest: string | undefined;
}

export function History({ id, newest }: HistoryProps) {
  const [hours, setHours] = useState<number>(1);
  const [history, setHistory] = useState<WatchHistory>();
  const [failure, setFailure] = useState<string>();

  useEffect(() => {
    const abort = new AbortController();
    const look = (): void =>
      void get<WatchHistory>(`/api/watches/${encodeURIComponent(id)}/history?hours=${hours}`, abort.signal).then(
        (found) => {
          setHistory(found);
          setFailure(undefined);
        },
        (error: unknown) => {
          if (!abort.signal.aborted) setFailure(messageOf(error));
        },
      );
    look();
    const timer = setInterval(() => {
      if (!document.hidden) look();
    }, LOOK_AGAIN_MS);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [id, hours, newest]);

  const began = history?.events.filter(({ type }) => type === 'new').length ?? 0;
  return (
    <section class="history" aria-label={`History of ${id}`} aria-busy={history === undefined}>
      <div class="periods">
        {PERIODS.map(([each, title]) => (
          <button
            key={each}
            type="button"
            class="quiet"
            aria-pressed={hours === each}
            onClick={() => setHours(each)}
          >
            {title}
          </button>
        ))}
      </div>
      {failure !== undefined && <p class="failure">{failure}</p>}
      {history?.cameras.map(({ camera, spans }) => (
        <div key={camera}>
          {history.cameras.length > 1 && <p class="facts">{camera}</p>}
          <Strip
            spans={spans}
            fromMs={history.fromMs}
            toMs={history.toMs}
            label={`${camera}: ${spans.filter(({ isLasting }) => isLasting).length} states with an event`}
          />
        </div>
      ))}
      {history !== undefined && !history.isWhole && <p class="hint">Only the newest events are shown.</p>}
      {history !== undefined && history.events.length > 0 && (
        <details>
          <summary>
            The last {history.events.length} events{began > 0 ? `, ${began} of which began` : ''}
          </summary>
          <ol class="moments">
            {history.events.map(({ id: event, run, atMs, camera, type, value, probability, frame }) => (
              <li key={event}>
                {frame && <BoxedPicture frame={frame} camera={camera} run={run} alt="" isThumbnail />}
                <span class="facts">
                  {new Date(atMs).toLocaleString()}: {wordsOf(value)}, {TYPE_WORDS[type]}
                  {probability === null ? '' : `, ${percent(probability)}`}
                </span>
              </li>
            ))}
          </ol>
        </details>
      )}
    </section>
  );
}
