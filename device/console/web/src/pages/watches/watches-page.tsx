import { useCallback, useEffect, useState } from 'preact/hooks';
import type { WatchesInfo, WatchStanding } from '../../../../api/watch-schemas.js';
import { get, send } from '../../api.js';
import type { PageProps } from '../../app.js';
import { messageOf } from '../../messages.js';
import { WatchCard } from './watch-card.js';
import './watches.css';

/** Probabilities move with every look, of which nobody is told. */
const LOOK_AGAIN_MS = 2_000;

export function WatchesPage({ events, session }: PageProps) {
  const [watches, setWatches] = useState<readonly WatchStanding[]>();
  const [failure, setFailure] = useState<string>();
  const mayChange = session.role !== 'display';
  const newest = events.find(({ kind }) => kind === 'watch')?.id;

  const look = useCallback(async (): Promise<void> => {
    try {
      setWatches((await get<WatchesInfo>('/api/watches')).watches);
      setFailure(undefined);
    } catch (error) {
      setFailure(messageOf(error));
    }
  }, []);

  useEffect(() => {
    void look();
    const timer = setInterval(() => {
      if (!document.hidden) void look();
    }, LOOK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [look, newest]);

  const change = async (work: Promise<unknown>): Promise<void> => {
    try {
      await work;
      await look();
    } catch (error) {
      setFailure(messageOf(error));
    }
  };

  return (
    <>
      <h1>Watches</h1>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {watches?.length === 0 && (
        <p class="card">
          No watch yet. A watch is a question that the device goes on asking by itself; it tells you when the answer
          changes.
        </p>
      )}
      <ul class="watches" aria-label="Watches" aria-busy={watches === undefined}>
        {watches?.map((standing) => (
          <WatchCard
            key={standing.watch.id}
            standing={standing}
            mayChange={mayChange}
            onPause={(isOn) => void change(send('PATCH', addressOf(standing), { enabled: isOn }))}
            onRemove={() => void change(send('DELETE', addressOf(standing)))}
          />
        ))}
      </ul>
    </>
  );
}

function addressOf({ watch }: WatchStanding): string {
  return `/api/watches/${encodeURIComponent(watch.id)}`;
}
