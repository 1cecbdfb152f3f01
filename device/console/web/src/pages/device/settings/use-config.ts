import { useCallback, useEffect, useState } from 'preact/hooks';
import type { ConfigOverview, ConfigPreview, ConfigSaved } from '../../../../../api/settings-schemas.js';
import { get, send } from '../../../api.js';
import type { Path } from './schema.js';

export interface Change {
  readonly path: Path;
  readonly value?: unknown;
}

export interface Config {
  readonly overview: ConfigOverview | undefined;
  /** Why there is none, or why the last attempt failed. */
  readonly failure: string | undefined;
  readonly refresh: () => Promise<void>;
  readonly preview: (changes: readonly Change[]) => Promise<ConfigPreview | undefined>;
  /** undefined: it failed. */
  readonly save: (changes: readonly Change[]) => Promise<ConfigSaved | undefined>;
  readonly undo: () => Promise<ConfigSaved | undefined>;
  readonly replaceSecret: (id: string, value: string) => Promise<ConfigSaved | undefined>;
}

/** The device's configuration file, always with the revision that was seen. */
export function useConfig(): Config {
  const [overview, setOverview] = useState<ConfigOverview>();
  const [failure, setFailure] = useState<string>();

  const attempt = useCallback(async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    setFailure(undefined);
    try {
      return await work();
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }, []);
  const refresh = useCallback(async () => {
    const seen = await attempt(() => get<ConfigOverview>('/api/config'));
    if (seen !== undefined) setOverview(seen);
  }, [attempt]);
  useEffect(() => void refresh(), [refresh]);

  const revision = overview?.revision;
  /** What was saved is looked at again; what was refused too, as somebody else may have changed it. */
  const written = async (work: () => Promise<ConfigSaved>): Promise<ConfigSaved | undefined> => {
    const saved = await attempt(work);
    const seen = await get<ConfigOverview>('/api/config').catch(() => undefined);
    if (seen !== undefined) setOverview(seen);
    return saved;
  };
  return {
    overview,
    failure,
    refresh,
    preview: (changes) => attempt(() => send<ConfigPreview>('POST', '/api/config/preview', { revision, changes })),
    save: (changes) => written(() => send<ConfigSaved>('PUT', '/api/config', { revision, changes })),
    undo: () => written(() => send<ConfigSaved>('POST', '/api/config/undo', { revision })),
    replaceSecret: (id, value) =>
      written(() => send<ConfigSaved>('PUT', `/api/config/secrets/${encodeURIComponent(id)}`, { revision, value })),
  };
}

/** What has become of a change, in words. */
export function outcomeOf({ applied, needsRestart, failure }: ConfigSaved): string {
  if (failure !== null) return `Saved, but it does not hold yet: ${failure}`;
  const parts = [
    applied.length === 0 ? '' : ` It holds now: ${applied.join(', ')}.`,
    needsRestart.length === 0 ? '' : ` It holds after a restart of the service: ${needsRestart.join(', ')}.`,
  ];
  return `Saved.${parts.join('')}`;
}
