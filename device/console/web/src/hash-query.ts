import { useEffect, useState } from 'preact/hooks';

/** What follows the question mark of `#/page?…`: how one page hands something to another. */
export function hashQuery(): URLSearchParams {
  const [, query = ''] = location.hash.split('?', 2);
  return new URLSearchParams(query);
}

/** The same, kept up with the address. */
export function useHashQuery(): URLSearchParams {
  const [query, setQuery] = useState(hashQuery);
  useEffect(() => {
    const look = (): void => setQuery(hashQuery());
    addEventListener('hashchange', look);
    return () => removeEventListener('hashchange', look);
  }, []);
  return query;
}

/** The address of a page with what it is handed; what is undefined or null is left out. */
export function pageAddress(
  page: string,
  handed: Readonly<Record<string, string | number | null | undefined>>,
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(handed))
    if (value !== undefined && value !== null) query.set(name, String(value));
  return `#/${page}?${query}`;
}
