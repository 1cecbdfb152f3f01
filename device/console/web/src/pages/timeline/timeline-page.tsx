import { useEffect, useState } from 'preact/hooks';
import type { TimelinePage as Page, TimelineEvent } from '../../../../api/schemas.js';
import { get } from '../../api.js';
import type { PageProps } from '../../app.js';
import { messageOf } from '../../messages.js';
import { EventDialog } from './event-dialog.js';
import { EventItem } from './event-item.js';
import { FIRST_FILTERS, FilterForm, localTime, queryOf } from './filters.js';
import './timeline.css';

interface Shown {
  /** The query that it answers. */
  readonly address: string;
  readonly events: readonly TimelineEvent[];
  readonly cursor: string | null;
}

/** What else happened then: so long before and after. */
const AROUND_MS = 60_000;

export function TimelinePage({ state, events: live, session }: PageProps) {
  const [filters, setFilters] = useState(FIRST_FILTERS);
  const [shown, setShown] = useState<Shown>();
  const [failure, setFailure] = useState<string>();
  const [opened, setOpened] = useState<TimelineEvent>();
  const cameras = state?.cameras.map(({ id }) => id) ?? [];
  const mayAsk = session.role !== 'display';
  const address = queryOf(filters).toString();
  const newest = live[0]?.id;

  useEffect(() => {
    const abort = new AbortController();
    // What is new is looked up, not mixed in: filters and search stay the journal's.
    get<Page>(`/api/timeline?${address}`, abort.signal).then(
      (page) => {
        setShown((before) => (before?.address === address ? joined(before, page) : { address, ...page }));
        setFailure(undefined);
      },
      (error: unknown) => {
        if (!abort.signal.aborted) setFailure(messageOf(error));
      },
    );
    return () => abort.abort();
  }, [address, newest]);

  const more = async (): Promise<void> => {
    try {
      const page = await get<Page>(`/api/timeline?${address}&cursor=${shown?.cursor}`);
      setShown((before) =>
        before?.address === address ? { address, events: [...before.events, ...page.events], cursor: page.cursor } : before,
      );
    } catch (error) {
      setFailure(messageOf(error));
    }
  };

  const around = (atMs: number): void => {
    setOpened(undefined);
    setFilters({ ...FIRST_FILTERS, from: localTime(atMs - AROUND_MS), to: localTime(atMs + AROUND_MS) });
  };

  return (
    <>
      <h1>Timeline</h1>
      <FilterForm filters={filters} cameras={cameras} mayExport={mayAsk} onChange={setFilters} />
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {shown?.events.length === 0 && <p class="card">Nothing that fits yet.</p>}
      <ol class="events" aria-busy={shown?.address !== address}>
        {shown?.events.map((event) => (
          <EventItem key={event.id} event={event} onOpen={() => setOpened(event)} />
        ))}
      </ol>
      {shown !== undefined && shown.cursor !== null && (
        <button type="button" onClick={() => void more()}>
          Show earlier
        </button>
      )}
      {opened !== undefined && (
        <EventDialog
          key={opened.id}
          event={opened}
          mayAsk={mayAsk}
          onAround={() => around(opened.atMs)}
          onClose={() => setOpened(undefined)}
        />
      )}
    </>
  );
}

/** The newest page over what is shown: earlier pages stay, unless so much has come that there is a gap. */
function joined(before: Shown, page: Page): Shown {
  const last = page.events.at(-1)?.id;
  const place = before.events.findIndex(({ id }) => id === last);
  if (place < 0) return { ...before, ...page };
  const earlier = before.events.slice(place + 1);
  const cursor = earlier.length > 0 ? before.cursor : page.cursor;
  return { ...before, events: [...page.events, ...earlier], cursor };
}
