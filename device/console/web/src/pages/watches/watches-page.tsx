import { useCallback, useEffect, useState } from 'preact/hooks';
import type { WatchDefinition, WatchesInfo, WatchStanding } from '../../../../api/watch-schemas.js';
import { get, send } from '../../api.js';
import type { PageProps } from '../../app.js';
import { messageOf } from '../../messages.js';
import { changesOf, type Draft, draftOf, handedDraft, newDraft } from './draft.js';
import { WatchCard } from './watch-card.js';
import { WatchForm } from './watch-form.js';
import './watches.css';

/** Probabilities move with every look, of which nobody is told. */
const LOOK_AGAIN_MS = 2_000;

/** What the form is open for. */
interface Open {
  readonly draft: Draft;
  readonly isKnown: boolean;
}

export function WatchesPage({ state, events, session }: PageProps) {
  const [watches, setWatches] = useState<readonly WatchStanding[]>();
  const [failure, setFailure] = useState<string>();
  const [formFailure, setFormFailure] = useState<string>();
  const mayChange = session.role !== 'display';
  const [open, setOpen] = useState<Open | undefined>(() => {
    const draft = mayChange ? handedDraft() : undefined;
    return draft && { draft, isKnown: false };
  });
  const newest = events.find(({ kind }) => kind === 'watch');

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
  }, [look, newest?.id]);

  const change = async (work: Promise<unknown>): Promise<void> => {
    try {
      await work;
      await look();
    } catch (error) {
      setFailure(messageOf(error));
    }
  };
  const show = (next: Open | undefined): void => {
    setFormFailure(undefined);
    setOpen(next);
    // What the page Ask handed over is used up.
    if (location.hash.includes('?')) history.replaceState(null, '', '#/watches');
  };
  const save = async (watch: WatchDefinition): Promise<void> => {
    if (open?.isKnown) await send('PATCH', addressOf(watch.id), changesOf(watch));
    else await send('POST', '/api/watches', watch);
    show(undefined);
    await look();
  };

  const ids = watches?.map(({ watch }) => watch.id) ?? [];
  const edited = open?.isKnown ? open.draft.id : undefined;
  return (
    <>
      <div class="title">
        <h1>Watches</h1>
        {mayChange && open === undefined && (
          <button type="button" onClick={() => show({ draft: newDraft(), isKnown: false })}>
            New watch
          </button>
        )}
      </div>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {open !== undefined && (
        <WatchForm
          key={`${edited ?? ''}`}
          first={open.draft}
          isKnown={open.isKnown}
          cameras={state?.cameras.map(({ id }) => id) ?? []}
          taken={ids.filter((id) => id !== edited)}
          onSave={save}
          onClose={() => show(undefined)}
          onFailure={(error) => setFormFailure(messageOf(error))}
          failure={formFailure}
        />
      )}
      {watches?.length === 0 && open === undefined && (
        <p class="card">
          No watch yet. A watch is a question that the device goes on asking by itself; it tells you when the answer
          changes.
        </p>
      )}
      <ul class="watches" aria-label="Watches" aria-busy={watches === undefined}>
        {watches
          ?.filter(({ watch }) => watch.id !== edited)
          .map((standing) => (
            <WatchCard
              key={standing.watch.id}
              standing={standing}
              mayChange={mayChange}
              newest={newest?.body.watch === standing.watch.id ? newest.id : undefined}
              onEdit={() => {
                show({ draft: draftOf(standing.watch), isKnown: true });
                scrollTo(0, 0);
              }}
              onCopy={() => {
                show({ draft: { ...draftOf(standing.watch), id: '' }, isKnown: false });
                scrollTo(0, 0);
              }}
              onPause={(isOn) => void change(send('PATCH', addressOf(standing.watch.id), { enabled: isOn }))}
              onRemove={() => void change(send('DELETE', addressOf(standing.watch.id)))}
            />
          ))}
      </ul>
    </>
  );
}

function addressOf(id: string): string {
  return `/api/watches/${encodeURIComponent(id)}`;
}
