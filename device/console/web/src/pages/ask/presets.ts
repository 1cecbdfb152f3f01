/** Questions that this browser's user keeps. */
const KEY = 'scenebus.presets';
const MAX_PRESETS = 20;

export function readPresets(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

/** What was kept: the newest so many. */
export function writePresets(presets: readonly string[]): readonly string[] {
  const kept = presets.slice(-MAX_PRESETS);
  localStorage.setItem(KEY, JSON.stringify(kept));
  return kept;
}
